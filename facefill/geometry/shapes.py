"""One check of a tensor's shape at a public boundary, with an answer that a reader can act on."""

from torch import Tensor


def check_shape(name: str, value: Tensor, *expected: int | str) -> None:
    """Raise ValueError unless `value` has the shape `expected`, whose strings stand for any length.

    >>> check_shape("vertices", torch.zeros(5, 3), "N", "V", 3)
    ValueError: vertices: expected (N, V, 3), got (5, 3)
    """
    fits = value.ndim == len(expected) and all(
        isinstance(want, str) or want == have for want, have in zip(expected, value.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(length) for length in expected)
        raise ValueError(f"{name}: expected ({wanted}), got {tuple(value.shape)}")
