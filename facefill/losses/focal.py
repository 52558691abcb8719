"""Focal loss (Lin et al., ICCV 2017; supplementary 4.3): cross-entropy that looks away from what is right."""

from torch import Tensor
from torch.nn import functional

from facefill.face_parsing import UNKNOWN


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean over known pixels of -(1 - p)^γ · log p, p = the softmax probability of the true class.

    logits (N, C, H, W); target (N, H, W) int64 class ids, 255 = unknown, left out. 0 if no pixel is known.
    """
    cross_entropy = functional.cross_entropy(logits, target, ignore_index=UNKNOWN, reduction="none")
    known = target != UNKNOWN
    focus = (1 - (-cross_entropy).exp()) ** gamma
    return (focus * cross_entropy * known).sum() / known.sum().clamp(min=1)
