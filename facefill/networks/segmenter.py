"""Segmenter: which pixels are face, occluder, background (Table 7).

The printed total, 7.18M, belongs to 2x2 max-pooling on the way down and learned 2x2 transposed convolutions
on the way up; the table prints strides and nearest upsampling, which make 6.70M.
"""

import torch
from torch import Tensor, nn

from facefill.networks.blocks import (
    ResUnit,
    laid_out,
    output_layer,
    scaled_channels,
    signed,
    spectral_deconvolution,
    with_gradient_laid_out,
)

NUM_CLASSES = 3


class Join(nn.Module):
    """Enlarge the deeper features by a learned 2x2 transposed convolution, then a residual unit over both."""

    def __init__(self, channels_deep: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.enlarge = spectral_deconvolution(channels_deep, channels_deep, 2)
        self.unit = ResUnit(channels_deep + channels_skip, channels_out)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return self.unit(torch.cat((self.enlarge(deep), skip), dim=1))


class Segmenter(nn.Module):
    """(N, 3, 224, 224) in [0, 1] -> logits (N, 3, 224, 224) of FACE, OCCLUDER, BACKGROUND.

    Any size that 32 divides. 7,180,771 parameters at width 1.
    """

    channels_last: bool | None = None  # see blocks.laid_out

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256 = (scaled_channels(count, width) for count in (32, 64, 128, 256))
        self.halve = nn.MaxPool2d(2)
        self.down1 = ResUnit(3, c32)
        self.down2 = ResUnit(c32, c64)
        self.down3 = ResUnit(c64, c128)
        self.down4 = ResUnit(c128, c256)
        self.down5 = ResUnit(c256, c256)
        self.down6 = ResUnit(c256, c256)
        self.up5 = Join(c256, c256, c256)
        self.up4 = Join(c256, c256, c128)
        self.up3 = Join(c128, c128, c64)
        self.up2 = Join(c64, c64, c32)
        self.up1 = Join(c32, c32, c32)
        self.output = output_layer(c32, NUM_CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        level1 = self.down1(laid_out(signed(image), self.channels_last))
        level2 = self.down2(self.halve(level1))
        level3 = self.down3(self.halve(level2))
        level4 = self.down4(self.halve(level3))
        level5 = self.down5(self.halve(level4))
        features = self.down6(self.halve(level5))
        features = self.up5(features, level5)
        features = self.up4(features, level4)
        features = self.up3(features, level3)
        features = self.up2(features, level2)
        features = self.up1(features, level1)
        return with_gradient_laid_out(self.output(features)).float()
