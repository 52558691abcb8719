"""PyramidGAN: a discriminator that judges an image at four scales (Table 6).

The group norms are applied as printed (the authors' release builds them and leaves them out; both have
the same parameters): so every counted parameter takes part.
"""

from torch import Tensor, nn

from facefill.networks.blocks import laid_out, scaled_channels, signed, spectral_convolution
from facefill.networks.normalization import NormalizedActivation


def halving_unit(channels_in: int, channels_out: int) -> nn.Sequential:
    """SpectralConv(C_in, C_out, 4, 2, 1) + GN + LReLU(0.2)."""
    return nn.Sequential(
        spectral_convolution(channels_in, channels_out, 4, 2, 1),
        NormalizedActivation(channels_out, "leaky_relu"),
    )


class PyramidDiscriminator(nn.Module):
    """(N, 3, H, W) in [0, 1] -> four score maps (N, 1, H/4, W/4) .. (N, 1, H/32, W/32), larger = more real.

    2,790,756 parameters at width 1. channels_last None is the plain layout here: the penalty on its gradient
    is differentiated twice, by torch's own operators, which like that layout.
    """

    channels_last: bool | None = None  # see blocks.laid_out

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        first, *judged = (scaled_channels(count, width) for count in (32, 64, 128, 256, 512))
        self.first = halving_unit(3, first)
        self.levels = nn.ModuleList(
            halving_unit(before, after) for before, after in zip((first, *judged), judged, strict=False)
        )
        self.scores = nn.ModuleList(spectral_convolution(channels, 1, 1) for channels in judged)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.first(laid_out(signed(image), bool(self.channels_last)))
        scores = []
        for level, score in zip(self.levels, self.scores, strict=True):
            features = level(features)
            scores.append(score(features).float())
        return scores
