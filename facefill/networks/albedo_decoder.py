"""Albedo decoder: the encoder's albedo feature to an albedo map (Table 4).

It takes no part in completion: it trains the encoder by reconstruction.
"""

from torch import Tensor, nn

from facefill.networks.blocks import (
    convolution_unit,
    laid_out,
    output_layer,
    scaled_channels,
    with_gradient_laid_out,
)

NUM_FEATURES = 512

# after the feature is spread over 3x4 texels: channels of the convolutions of each level, then twice the size
LEVELS = (
    (512, 256),
    (256, 128, 128),
    (160, 96, 128),
    (128, 64, 96),
    (96, 64, 64),
    (64, 32, 32),
    (32, 16, 16),
)


class AlbedoDecoder(nn.Module):
    """(N, 512 · width) -> albedo (N, 3, 192, 256) in [0, 1]. 5,543,667 parameters at width 1."""

    channels_last: bool | None = None  # see blocks.laid_out

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = scaled_channels(NUM_FEATURES, width)
        # The names count the two steps that spread the feature.
        layers: list[nn.Module] = [nn.Identity(), nn.Identity()]
        for number, level in enumerate(LEVELS):
            if number > 0:
                layers.append(nn.Upsample(scale_factor=2))
            for full_channels in level:
                following = scaled_channels(full_channels, width)
                layers.append(convolution_unit(channels, following))
                channels = following
        layers.append(output_layer(channels, 3))
        self.layers = nn.Sequential(*layers)

    def forward(self, albedo_feature: Tensor) -> Tensor:
        spread = albedo_feature[:, :, None, None].expand(-1, -1, 3, 4)
        answer = with_gradient_laid_out(self.layers(laid_out(spread, self.channels_last)))
        return (answer.float().tanh() + 1) / 2
