"""What the inpainter is asked for besides fooling the discriminator: true albedo, symmetry, a true image.

Every difference d is weighed by the inpainter's own uncertainty c = log_sigma (authors' release):
(d · exp(-c) + c) / 2, the likelihood of a Laplace distribution of scale exp(c) up to constants. A high c
lowers the weight of the difference and pays for it by c/2.
"""

from torch import Tensor

from facefill.losses.masked import limited, masked_mean

CEILING = 50.0
DEAD_ZONE = 0.005  # asymmetry of real faces and of the UV sampling


def uncertain_l1(prediction: Tensor, target: Tensor, log_sigma: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask of (mean over colours of |prediction - target| · exp(-c) + c) / 2.

    prediction, target (N, 3, H, W); log_sigma, mask (N, 1, H, W). L_A with the UV maps, L_I with the images.
    """
    return uncertain((prediction - target).abs(), log_sigma, mask)


def masked_symmetry(albedo: Tensor, log_sigma: Tensor, visible: Tensor) -> Tensor:
    """L_sym: hidden texels whose mirror texel is visible should equal it; one-sided, within a dead zone.

    albedo (N, 3, 192, 256) completed; log_sigma, visible (N, 1, 192, 256). The mirror side is the target and
    gets no gradient; differences up to 0.005 are free.
    """
    difference = (albedo - albedo.flip(-1).detach()).abs()
    difference = difference * (difference > DEAD_ZONE)
    return uncertain(difference, log_sigma, (1 - visible) * visible.flip(-1))


def uncertain(difference: Tensor, log_sigma: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask of (mean over colours of `difference` · exp(-c) + c) / 2, at most 50."""
    weighted = difference.mean(dim=1, keepdim=True) * (-log_sigma).exp()
    return limited(masked_mean((weighted + log_sigma) / 2, mask), CEILING)
