"""Sym-UNet: a partial albedo map to a complete one, with its uncertainty (Table 5).

The map and its mirror image enter through first layers of their own; every level passes features · gate, so
the network can fetch a hidden cheek from the visible one. Misprints repaired: the gates of the two last
levels take 64 channels, and the last skip carries both first-level branches.
"""

import torch
from torch import Tensor, nn

from facefill.networks.blocks import (
    ResUnit,
    convolution_gate,
    deconvolution_gate,
    enlarged,
    laid_out,
    scaled_channels,
    signed,
    spectral_convolution,
    with_gradient_laid_out,
)


class GatedDown(nn.Module):
    """features · gate, both from the same input, at 1/stride of its size."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 2) -> None:
        super().__init__()
        self.features = ResUnit(channels_in, channels_out, stride)
        self.gate = convolution_gate(channels_in, channels_out, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.features(inputs) * self.gate(inputs)


class GatedUp(nn.Module):
    """features · gate at twice the size; the features see the skip too, the gate the input alone."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.features = ResUnit(channels_in + channels_skip, channels_out)
        self.gate = deconvolution_gate(channels_in, channels_out)

    def forward(self, inputs: Tensor, *skip: Tensor) -> Tensor:
        if not skip:
            return self.features.of_enlarged(inputs) * self.gate(inputs)
        return self.features(torch.cat((enlarged(inputs), *skip), dim=1)) * self.gate(inputs)


class SymUNet(nn.Module):
    """Complete a UV albedo map. 11,693,060 parameters at width 1.

    albedo (N, 3, 192, 256) in [0, 1] and visible (N, 1, 192, 256), 1 = known; what lies under visible = 0 is
    not seen -> completed albedo (N, 3, 192, 256) in [0, 1] and log_sigma (N, 1, 192, 256), unbounded.
    """

    channels_last: bool | None = None  # see blocks.laid_out

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256, c512 = (scaled_channels(count, width) for count in (32, 64, 128, 256, 512))
        self.down1 = GatedDown(4, c32)
        self.down1_mirrored = GatedDown(4, c32)
        self.down2 = GatedDown(2 * c32, c64)
        self.down3 = GatedDown(c64, c128)
        self.down4 = GatedDown(c128, c256)
        self.down5 = GatedDown(c256, c512)
        self.bottom = GatedDown(c512, c256, stride=1)
        self.up4 = GatedUp(c256, c256, c128)
        self.up3 = GatedUp(c128, c128, c64)
        self.up2 = GatedUp(c64, c64, c64)
        self.up1 = GatedUp(c64, 2 * c32, c64)
        self.up0 = GatedUp(c64, 0, c32)
        self.output = spectral_convolution(c32, 4, 1)

    def forward(self, albedo: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        known = torch.cat((signed(albedo) * visible, visible), dim=1)  # hidden texels become mid-grey
        known = laid_out(known, self.channels_last)
        level1 = torch.cat((self.down1(known), self.down1_mirrored(known.flip(-1))), dim=1)
        level2 = self.down2(level1)
        level3 = self.down3(level2)
        level4 = self.down4(level3)
        features = self.bottom(self.down5(level4))
        features = self.up4(features, level4)
        features = self.up3(features, level3)
        features = self.up2(features, level2)
        features = self.up1(features, level1)
        features = self.up0(features)
        output = with_gradient_laid_out(self.output(features)).float()
        return (output[:, :3].clamp(-1, 1) + 1) / 2, output[:, 3:]
