"""Means over a mask, and the ceiling that keeps one bad batch from throwing the training off."""

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (N, 1, H, W) where `mask` (N or 1, 1, H, W) is 1; 0 if it is nowhere."""
    mask = mask.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def limited(loss: Tensor, ceiling: float) -> Tensor:
    """A scalar loss above `ceiling` is scaled down to it: its gradient keeps direction and loses length."""
    return loss * (ceiling / loss.detach().abs().clamp(min=ceiling))
