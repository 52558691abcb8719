"""LPIPS (Zhang et al., CVPR 2018): how different two images look, by AlexNet's features; smaller is better.

Version 0.1, linear layers of the package lpips, images in [0, 1] brought to its [-1, 1]. A region's value is
the mean over the region of the layers' distance maps, each enlarged bilinearly to the image.
"""

import warnings

import torch
from torch import Tensor
from torch.nn import functional

from facefill.metrics.alexnet_backbone import Backbone, find_backbone
from facefill.metrics.torchvision_import import make_torchvision_importable

NO_BACKBONE = "LPIPS not computed: no backbone"

# where AlexNet's convolutions lie in the package's five slices
CONVOLUTIONS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")


def load_lpips(backbone: str = "", device: torch.device | str = "cpu") -> "Lpips | None":
    """LPIPS on the backbone file given, else on the installed one; None (say NO_BACKBONE) if there is none.

    Raises UserError for a given file that is no backbone.
    """
    weights = find_backbone(backbone)
    return None if weights is None else Lpips(weights, torch.device(device))


class Lpips:
    """The metric with its weights on one device."""

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        make_torchvision_importable()
        # The package draws a random trunk, which ours replaces, and torchvision warns of how it is asked for.
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            import lpips

            self.network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
        with torch.no_grad():
            for number, name in enumerate(CONVOLUTIONS, 1):
                layer = self.network.net.get_submodule(name)
                layer.weight.copy_(torch.from_numpy(backbone[f"conv{number}.weight"]))
                layer.bias.copy_(torch.from_numpy(backbone[f"conv{number}.bias"]))
        self.network.to(device).eval().requires_grad_(False)

    def __call__(self, result: Tensor, truth: Tensor) -> Tensor:
        """(N,) distances of images (N, 3, H, W) in [0, 1]."""
        return image_distance(self.maps(result, truth))

    def maps(self, result: Tensor, truth: Tensor) -> list[Tensor]:
        """Weighted feature distances (N, 1, h, w) of the five layers; their spatial means add up to LPIPS."""
        return [
            linear((self.unit_features(a) - self.unit_features(b)).square())
            for linear, a, b in zip(
                self.network.lins, self.features(result), self.features(truth), strict=True
            )
        ]

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.network.net(self.network.scaling_layer(image * 2 - 1))

    @staticmethod
    def unit_features(features: Tensor) -> Tensor:
        """Each position's channel vector at length 1."""
        return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def image_distance(maps: list[Tensor]) -> Tensor:
    """(N,) LPIPS of whole images from `Lpips.maps`."""
    return torch.stack([layer.mean((1, 2, 3)) for layer in maps]).sum(0)


def region_distance(maps: list[Tensor], mask: Tensor) -> Tensor:
    """(N,) LPIPS over the pixels of mask (N, 1, H, W), nan where it is empty."""
    size = mask.shape[-2:]
    enlarged = [functional.interpolate(layer, size, mode="bilinear", align_corners=False) for layer in maps]
    total = torch.stack(enlarged).sum(0)
    return (total * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
