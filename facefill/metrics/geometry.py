"""How well a fitted face lies on the image."""

import torch
from torch import Tensor


def landmark_nme(predicted: Tensor, truth: Tensor) -> Tensor:
    """(N,) mean distance of landmarks (N, K, 2) over the size of the true ones, √(width · height) of the box.

    The box and not the distance of the eyes, which vanishes in profile (Zhu et al., CVPR 2016).
    """
    distance = torch.linalg.vector_norm(predicted - truth, dim=2).mean(dim=1)
    width, height = (truth.amax(dim=1) - truth.amin(dim=1)).unbind(dim=1)
    return distance / (width * height).sqrt()
