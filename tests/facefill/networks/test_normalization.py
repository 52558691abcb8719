"""Group norm with activation: the compiled loops against torch, values and gradients, and gradients of
gradients."""

import pytest
import torch
from torch import Tensor

from facefill.networks import normalization
from facefill.networks.blocks import (
    ResUnit,
    convolved_enlarged,
    enlarged,
    laid_out,
    spectral_convolution,
)
from facefill.networks.normalization import Activation, NormalizedActivation, normalized_with_torch

ACTIVATIONS: tuple[Activation, ...] = ("none", "elu", "sigmoid", "leaky_relu")
SHAPES = ((2, 4, 7, 5), (3, 8, 6, 9), (1, 512, 3, 2))  # odd sizes; one group; more channels than lanes


def random_maps(*shape: int, seed: int = 0) -> Tensor:
    """A map with a mean, channels last."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 3 + 1).contiguous(memory_format=torch.channels_last)


def with_gradients(norm: NormalizedActivation, maps: list[Tensor]) -> list[Tensor]:
    """Answer and gradients by maps and parameters of a sum in which every number has its own weight."""
    maps = [values.detach().requires_grad_() for values in maps]
    answer = norm(*maps)
    wanted = [*maps, norm.weight, norm.bias]
    return [answer, *torch.autograd.grad((answer * random_maps(*answer.shape, seed=9)).sum(), wanted)]


def drawn(channels: int, activation: Activation) -> NormalizedActivation:
    norm = NormalizedActivation(channels, activation)
    with torch.no_grad():
        norm.weight.copy_(random_maps(1, channels, 1, 1, seed=3).flatten())
        norm.bias.copy_(random_maps(1, channels, 1, 1, seed=4).flatten() / 3)
    return norm


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lets a test switch the compiled loops off."""
    return monkeypatch


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_torch(
    shape: tuple[int, ...], adds: bool, activation: Activation, by_torch: pytest.MonkeyPatch
) -> None:
    norm = drawn(shape[1], activation)
    maps = [random_maps(*shape), *([random_maps(*shape, seed=1)] if adds else [])]
    assert normalization.may_run_channels_last(maps[0])
    found = with_gradients(norm, maps)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    by_torch.setattr(normalization, "may_run_channels_last", lambda maps: False)
    for ours, theirs in zip(found, with_gradients(norm, maps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_half_precision_is_rounded_once(activation: Activation) -> None:
    """The answer in bfloat16 is that of float32 on the same input, rounded to the nearest; gradients are
    within the rounding of what they are made from.
    """
    norm = drawn(8, activation)
    maps = [random_maps(2, 8, 6, 4).bfloat16(), random_maps(2, 8, 6, 4, seed=1).bfloat16()]
    halved = with_gradients(norm, maps)
    exact = with_gradients(norm, [values.float() for values in maps])
    torch.testing.assert_close(halved[0].float(), exact[0].bfloat16().float(), rtol=2**-7, atol=1e-6)
    assert float((halved[0].float() == exact[0].bfloat16().float()).float().mean()) > 0.99
    assert [gradient.dtype for gradient in halved[1:]] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for ours, theirs in zip(halved[1:], exact[1:], strict=True):
        assert (ours.float() - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("activation", ["elu", "leaky_relu"])
def test_gradients_of_gradients(activation: Activation) -> None:
    """A penalty on the gradient gives what plain torch in double precision gives."""
    norm = drawn(4, activation)
    values = random_maps(2, 4, 3, 5)

    def penalty(precision: torch.dtype, answer_of: object) -> list[Tensor]:
        assert callable(answer_of)
        maps = values.to(precision).requires_grad_()
        parameters = [norm.weight.detach().to(precision), norm.bias.detach().to(precision)]
        for parameter in parameters:
            parameter.requires_grad_()
        given = random_maps(*values.shape, seed=7).to(precision)
        (slope,) = torch.autograd.grad((answer_of(maps, *parameters) * given).sum(), maps, create_graph=True)
        return list(torch.autograd.grad((slope.square().sum(1) + 1e-6).sqrt().sum(), [maps, parameters[0]]))

    def loops(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalization.normalized(maps, weight, bias, None, 1, norm.eps, activation)

    def plain(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalized_with_torch(maps, weight, bias, None, 1, norm.eps, activation)

    for ours, exact in zip(penalty(torch.float32, loops), penalty(torch.float64, plain), strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)


def test_two_threads_give_the_same_bits() -> None:
    norm, maps = drawn(8, "elu"), [random_maps(5, 8, 6, 4)]
    threads = torch.get_num_threads()
    answers = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            answers.append(with_gradients(norm, maps))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*answers, strict=True))


def test_what_is_not_finite_stays_so() -> None:
    for value in (torch.inf, torch.nan):
        maps = random_maps(2, 4, 3, 3)
        maps[0, 0, 0, 0] = value
        answer = drawn(4, "elu")(maps)
        assert not answer[0].isfinite().all()
        assert answer[1].isfinite().all()


def test_convolving_what_is_never_enlarged() -> None:
    """Values and gradients of the 4x4 transposed convolution are those of enlarging, then convolving."""
    torch.manual_seed(0)
    convolution = spectral_convolution(3, 5, 3, 1, 1).eval()
    features = torch.randn(2, 3, 4, 6, requires_grad=True)
    wanted = [features, *convolution.parameters()]
    weights = torch.randn(2, 5, 8, 12)
    pairs = []
    for answer in (convolved_enlarged(features, convolution), convolution(enlarged(features))):
        pairs.append([answer, *torch.autograd.grad((answer * weights).sum(), wanted)])
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_unit_of_enlarged_features(channels_last: bool) -> None:
    torch.manual_seed(0)
    unit = ResUnit(8, 4).eval()
    features = laid_out(torch.randn(2, 8, 5, 6), channels_last).requires_grad_()
    weights = torch.randn(2, 4, 10, 12)
    pairs = []
    for answer in (unit.of_enlarged(features), unit(enlarged(features))):
        pairs.append([answer, *torch.autograd.grad((answer * weights).sum(), features)])
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
