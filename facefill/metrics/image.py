"""PSNR and SSIM of images in [0, 1], per image.

PSNR: 10·log10(1 / MSE) over all pixels and channels (or those of a mask), at most 100 dB.
SSIM (Wang et al. 2004): Gaussian window 11, σ 1.5, valid area only, each channel alone, range 1, K .01, .03.
"""

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11
BORDER = WINDOW // 2  # what the valid area lacks on each side
SIGMA = 1.5
K1, K2 = 0.01, 0.03
SMALLEST_ERROR = 1e-10  # equal images: 100 dB instead of infinity, so that means stay finite


def psnr(result: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """(N,) decibels of images (N, 3, H, W); with mask (N, 1, H, W) over its pixels, nan where it is empty."""
    squared = (result - truth).square().mean(dim=1)
    if mask is None:
        error = squared.mean((1, 2))
    else:
        error = (squared * mask[:, 0]).sum((1, 2)) / mask.sum((1, 2, 3))
    return -10 * torch.log10(error.clamp(min=SMALLEST_ERROR))


def ssim(result: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """(N,) mean of the SSIM map; with mask (N, 1, H, W) over its pixels, nan where it is empty.

    A masked pixel counts by the window centred on it, so the pixels around a region take part in its value.
    """
    similarity = ssim_map(result, truth)
    if mask is None:
        return similarity.mean((1, 2, 3))
    inner = mask[:, :, BORDER:-BORDER, BORDER:-BORDER]
    return (similarity * inner).sum((1, 2, 3)) / inner.sum((1, 2, 3))


def ssim_map(result: Tensor, truth: Tensor) -> Tensor:
    """(N, 1, H - 10, W - 10) SSIM of the windows inside the images (N, C, H, W), mean of the channels."""
    mean_result, mean_truth = blurred(result), blurred(truth)
    variance_result = blurred(result * result) - mean_result.square()
    variance_truth = blurred(truth * truth) - mean_truth.square()
    covariance = blurred(result * truth) - mean_result * mean_truth
    luminance = (2 * mean_result * mean_truth + K1**2) / (mean_result.square() + mean_truth.square() + K1**2)
    structure = (2 * covariance + K2**2) / (variance_result + variance_truth + K2**2)
    return (luminance * structure).mean(dim=1, keepdim=True)


def blurred(image: Tensor) -> Tensor:
    """Each channel under the Gaussian window, valid area: (N, C, H, W) -> (N, C, H - 10, W - 10)."""
    channels = image.shape[1]
    offsets = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - BORDER
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = (window / window.sum()).expand(channels, 1, WINDOW)
    rows = functional.conv2d(image, window[:, :, :, None], groups=channels)
    return functional.conv2d(rows, window[:, :, None, :], groups=channels)
