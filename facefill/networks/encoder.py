"""Encoder: one face image to shape, expression, pose, illumination and an albedo feature (Table 3).

Trunk of 13 convolutions without bias, four heads with bias. Pose mapping of the release:
scale = (tanh + 1)/2 · 2e-3 px per µm, Euler XYZ = tanh · π/2, translation = (tanh + 1)/2 · 224 px, rows down.
The heads' last layers run in float32 under autocast too: bfloat16 would round a translation to half a pixel.
Table 3 averages over space before them, so where a face lies shows only through the padding; a located
encoder's pose and shape are told where their features lie as well, which measured better (log, 2026-11-23).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facefill.geometry.camera import WeakPerspective
from facefill.networks.blocks import convolution_unit, laid_out, scaled_channels, signed

IMAGE_SIZE = 224
MAXIMUM_SCALE = 2e-3  # px per µm; an aligned face has about 1e-3
NUM_IDENTITY = 199
NUM_EXPRESSION = 29
NUM_ILLUMINATION = 27
COORDINATE_SPREAD = math.sqrt(3)  # coordinates from -√3 to √3 have variance 1
CONSTANT_HARMONIC = math.sqrt(1 / (4 * math.pi))  # the basis value that does not depend on the normal

# (channels, stride); Table 3 prints one row twice and 196 for 192
TRUNK = (
    (64, 1),
    (64, 2),
    (96, 1),
    (128, 1),
    (128, 2),
    (192, 1),
    (256, 1),
    (256, 2),
    (256, 1),
    (256, 1),
    (512, 2),
    (512, 1),
)


@dataclass(frozen=True)
class EncoderOutput:
    """What one look at an image says of the face in it."""

    identity: Tensor  # (N, 199) standardised
    expression: Tensor  # (N, 29) standardised
    camera: WeakPerspective  # pixels of the 224 crop
    illumination: Tensor  # (N, 3, 9)
    albedo_feature: Tensor  # (N, 512 · width)


class PooledLinear(nn.Module):
    """Spatial mean, then a linear layer, in float32: (N, C, H, W) -> (N, num_outputs)."""

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.linear(features.float().mean((2, 3)))


class LocatedLinear(nn.Module):
    """Spatial mean and first moments (mean of the features times column, times row), then a linear layer, in
    float32: (N, C, H, W) -> (N, num_outputs).
    """

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * channels, num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            columns, rows = (
                torch.linspace(-COORDINATE_SPREAD, COORDINATE_SPREAD, size, device=features.device)
                for size in (features.shape[3], features.shape[2])
            )
            by_row = features.float().mean(3)
            by_column = features.float().mean(2)
            moments = (by_row.mean(2), by_column @ columns / len(columns), by_row @ rows / len(rows))
            return self.linear(torch.cat(moments, 1))


class Encoder(nn.Module):
    """(N, 3, 224, 224) in [0, 1], holes mid-grey, -> EncoderOutput.

    located: False is Table 3, 17,391,941 parameters at width 1.
    """

    channels_last: bool | None = None  # see blocks.laid_out

    def __init__(self, width: float = 1.0, located: bool = True) -> None:
        super().__init__()
        channels = scaled_channels(32, width)
        layers = [convolution_unit(3, channels, 7, 2, 3, bias=False)]
        for full_channels, stride in TRUNK:
            following = scaled_channels(full_channels, width)
            layers.append(convolution_unit(channels, following, stride=stride, bias=False))
            channels = following
        self.trunk = nn.Sequential(*layers)

        pooled_linear = LocatedLinear if located else PooledLinear
        small = scaled_channels(160, width)
        self.pose = nn.Sequential(convolution_unit(channels, small), pooled_linear(small, 6))
        self.illumination = nn.Sequential(
            convolution_unit(channels, small), PooledLinear(small, NUM_ILLUMINATION)
        )
        self.shape = nn.Sequential(
            convolution_unit(channels, channels),
            convolution_unit(channels, channels),
            pooled_linear(channels, NUM_IDENTITY + NUM_EXPRESSION),
        )
        self.albedo = nn.Sequential(
            convolution_unit(channels, channels), convolution_unit(channels, channels)
        )
        self.start_with_neutral_light()

    def start_with_neutral_light(self) -> None:
        """Shading 1 everywhere at first: from zero light the clamp of the shading would pass no gradient."""
        linear = self.illumination[-1].linear
        assert isinstance(linear, nn.Linear)
        with torch.no_grad():
            linear.bias.zero_()
            linear.bias[::9] = 1 / CONSTANT_HARMONIC

    def forward(self, image: Tensor) -> EncoderOutput:
        features = self.trunk(laid_out(signed(image), self.channels_last))
        shape = self.shape(features)
        return EncoderOutput(
            identity=shape[:, :NUM_IDENTITY],
            expression=shape[:, NUM_IDENTITY:],
            camera=camera_from_pose(torch.tanh(self.pose(features))),
            illumination=self.illumination(features).unflatten(1, (3, 9)),
            albedo_feature=self.albedo(features).float().mean((2, 3)),
        )


def is_located(state: Mapping[str, Tensor]) -> bool:
    """Whether the encoder with this state is a located one; True for the state of something else."""
    biases, weights = state.get("pose.0.0.bias"), state.get("pose.1.linear.weight")
    return biases is None or weights is None or weights.shape[1] == 3 * len(biases)


def camera_from_pose(pose: Tensor) -> WeakPerspective:
    """(N, 6) in [-1, 1]: scale, Euler XYZ, translation (column, row) -> camera of the 224 crop."""
    return WeakPerspective(
        scale=(pose[:, 0] + 1) / 2 * MAXIMUM_SCALE,
        euler_xyz=pose[:, 1:4] * (math.pi / 2),
        translation=(pose[:, 4:6] + 1) / 2 * IMAGE_SIZE,
    )
