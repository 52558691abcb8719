"""What the networks are built of: spectral-norm convolutions, group norm, residual units, gates.

Supplementary 4.1: spectral normalisation in the convolutions, GN with C/4 groups, ELU. A residual unit is
conv3x3-GN-ELU-conv3x3-GN with a 1x1 convolution + GN as shortcut where the shape changes.
"""

import math
from collections import OrderedDict
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from facefill.geometry.compiled import numba_is_importable
from facefill.networks.normalization import CHANNELS_PER_GROUP, NormalizedActivation

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)


def scaled_channels(channels: int, width: float) -> int:
    """A hidden channel count times `width`, rounded to whole groups of four, at least one group."""
    groups = round(channels * width / CHANNELS_PER_GROUP)
    return CHANNELS_PER_GROUP * max(1, groups)


def signed(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1], so that mid-grey is zero."""
    return image * 2 - 1


def laid_out(maps: Tensor, channels_last: bool | None) -> Tensor:
    """(N, C, H, W) with channels last in memory, or not; all later maps of a network lie as its first.

    None is what is fastest: channels last on a CPU where group norms run as compiled loops.
    """
    if channels_last is None:
        channels_last = maps.device.type == "cpu" and numba_is_importable()
    return maps.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def initialized(layer: Convolution) -> Convolution:
    """Weights N(0, sqrt(2 / (k² · C_out))), biases zero: the authors' initialisation."""
    kernel_area = layer.kernel_size[0] * layer.kernel_size[1]
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (kernel_area * layer.out_channels)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def with_gradient_laid_out(maps: Tensor) -> Tensor:
    """The maps themselves; the gradient that reaches them will lie in memory as they do.

    Losses give the last layer a gradient in the plain layout, and two layouts in one operator are slow.
    """
    if maps.requires_grad and not maps.is_contiguous():
        maps.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return maps


def output_layer(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A last 1x1 convolution printed without spectral norm; small, lest tanh or softmax start saturated."""
    layer = initialized(nn.Conv2d(channels_in, channels_out, 1))
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def spectral_convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
) -> nn.Module:
    return spectral_norm(
        initialized(nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=bias))
    )


class Deconvolution(nn.ConvTranspose2d):
    """Transposed convolution whose bias is added afterwards: on CPUs the gradient of a bias inside takes as
    long as everything else of the backward pass.
    """

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        assert self.bias is not None
        return deconvolved(features, self.weight, self.bias, int(self.stride[0]), int(self.padding[0]))


def deconvolved(features: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """conv_transpose2d, the bias added afterwards."""
    answer = functional.conv_transpose2d(features, weight, None, stride, padding)
    return answer + bias.to(answer.dtype).view(1, -1, 1, 1)


def spectral_deconvolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 2, padding: int = 0
) -> nn.Module:
    return spectral_norm(initialized(Deconvolution(channels_in, channels_out, kernel, stride, padding)))


def convolution_unit(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, padding: int = 1, bias: bool = True
) -> nn.Sequential:
    """SpectralConv + GN + ELU of Tables 3 and 4."""
    return nn.Sequential(
        spectral_convolution(channels_in, channels_out, kernel, stride, padding, bias),
        NormalizedActivation(channels_out, "elu"),
    )


def convolution_gate(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """SigGNConv of Table 5: 3x3 convolution + GN + sigmoid."""
    return nn.Sequential(
        spectral_convolution(channels_in, channels_out, 3, stride, 1),
        NormalizedActivation(channels_out, "sigmoid"),
    )


def deconvolution_gate(channels_in: int, channels_out: int) -> nn.Sequential:
    """SigGNDeconv of Table 5: 4x4 transposed convolution to twice the size + GN + sigmoid."""
    return nn.Sequential(
        spectral_deconvolution(channels_in, channels_out, 4, 2, 1),
        NormalizedActivation(channels_out, "sigmoid"),
    )


def fold_spectral_norm(network: nn.Module) -> nn.Module:
    """Put the normalised weights in the place of the normalisation, for a network that only answers any more.

    In place. The answers stay the same to the bit and each spares the division of all weights, a quarter
    of the encoder's time on a CPU; the state is no longer that of a network in training. Never fold a
    deepcopy: copies share the class that the normalisation is attached to, so the original would lose it.
    """
    network.eval()  # in training mode reading a weight would move its power iteration
    for layer in list(network.modules()):
        if is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight")
    return network


class ResUnit(nn.Module):
    """ResUnit(C_in, C_out, 3, stride, 1) of Tables 5 and 7: (N, C_in, H, W) to 1/stride of the size."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        # The names count the activation that the first norm contains.
        self.residual = nn.Sequential(
            OrderedDict(
                {
                    "0": spectral_convolution(channels_in, channels_out, 3, stride, 1),
                    "1": NormalizedActivation(channels_out, "elu"),
                    "3": spectral_convolution(channels_out, channels_out, 3, 1, 1),
                    "4": NormalizedActivation(channels_out, "elu"),
                }
            )
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                spectral_convolution(channels_in, channels_out, 1), NormalizedActivation(channels_out)
            )

    def forward(self, features: Tensor) -> Tensor:
        first, _, _, _ = self.residual
        # A 1x1 convolution of stride 2 reads every second pixel. Taking them first avoids the backward kernel
        # that corrupts the heap on CPUs with few input channels (uxlfoundation/oneDNN#6035).
        taken = features[:, :, :: self.stride, :: self.stride]
        return self.joined(first(features), self.shortcut(taken))

    def of_enlarged(self, features: Tensor) -> Tensor:
        """forward(`features` enlarged twofold by nearest neighbour), without ever making what it enlarges.

        The shortcut commutes with the enlargement, its norm included, for all pixels count alike.
        """
        first, _, _, _ = self.residual
        return self.joined(convolved_enlarged(features, first), enlarged(self.shortcut(features)))

    def joined(self, first: Tensor, shortcut: Tensor) -> Tensor:
        """From the first convolution's answer and the shortcut's to the unit's."""
        _, norm, second, last_norm = self.residual
        return last_norm(second(norm(first)), shortcut)


def enlarged(features: Tensor) -> Tensor:
    """Twice the size by nearest neighbour."""
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def convolved_enlarged(features: Tensor, convolution: nn.Module) -> Tensor:
    """A 3x3 convolution with padding 1 of the features enlarged twofold by nearest neighbour.

    Done as the transposed 4x4 convolution of stride 2 that it is: each pixel meets sums of the same weights
    twice, which saves more than half of the multiplications and the large map.
    """
    weight, bias = convolution.weight, convolution.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    turned = weight.flip(-2, -1).transpose(0, 1)
    taller = functional.pad(turned, (0, 0, 0, 1)) + functional.pad(turned, (0, 0, 1, 0))
    kernel = functional.pad(taller, (0, 1)) + functional.pad(taller, (1, 0))
    return deconvolved(features, kernel, bias, stride=2, padding=1)
