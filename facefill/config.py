"""Settings of the four training stages; every default is the paper's own value unless a comment says
otherwise.

precision: of the convolutions; geometry, losses and weights stay in float32. channels_last: memory layout of
the feature maps, null for what measured fastest on the device. compile: torch.compile of the networks in
training; slower than our own loops on CPUs, and refused there with bfloat16, whose gradients came out wrong.

Names of loss weights are the names of the metrics (`loss/symmetry`) and of the sweep's keys
(`stages.inpaint.loss_weights.symmetry`). A weight of zero skips the term.
"""

from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["float32", "bfloat16"]
Geometry = Literal["fit", "encoder"]
STAGES = ("morphable", "morphable_finetune", "segment", "inpaint")

# One pass over CelebA's 162,770 training photographs at the paper's batch of 28 (supplementary 4.3).
PAPER_STEPS_PER_EPOCH = 5813


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with a step decay of the learning rate (supplementary 4.3; betas from the authors' release)."""

    learning_rate: float = 1e-4
    decay: float = 0.98
    decay_every: int = PAPER_STEPS_PER_EPOCH
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 4e-5


@dataclass(frozen=True, kw_only=True)
class MorphableLossWeights:
    """All equal in the paper (supplementary 4.2), and `landmark_distance` not there: the plain distance of
    landmarks beside `landmarks`, the squared one. `illumination` is ours: our fits know the light, 300W-3D
    does not.
    """

    shape: float = 1.0
    scale: float = 1.0
    translation: float = 1.0
    rotation: float = 1.0
    illumination: float = 1.0
    texture: float = 1.0
    landmarks: float = 1.0
    landmark_distance: float = 0.0
    reconstruction: float = 1.0
    symmetry: float = 1.0
    constancy: float = 1.0


@dataclass(frozen=True, kw_only=True)
class MorphableConfig:
    """Encoder and albedo decoder, supervised (stage `morphable`) or from reconstruction alone
    (`morphable_finetune`).

    located: pose and shape are told where features lie, which the paper's mean over space hides (Table 3).
    drawn: share of a batch for which albedo is decoded and drawn, most of a step's time on a CPU; the terms
    on shape, pose, light and landmarks take every face.
    """

    width: float = 1.0
    located: bool = True
    drawn: float = 1.0
    precision: Precision = "float32"
    channels_last: bool | None = None
    compile: bool = False
    jitter: int = 0  # pixels that a training crop may lie off the middle; 16 in the paper, 0 measured better
    occlusion: float = 0.5  # share of training images that get a random rectangle
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss_weights: MorphableLossWeights = field(default_factory=MorphableLossWeights)


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """Face parsing into face, occluder and background with the focal loss (supplementary 4.3)."""

    width: float = 1.0
    precision: Precision = "float32"
    channels_last: bool | None = None
    compile: bool = False
    jitter: int = 16  # pixels that a training crop may lie off the middle (supplementary 4.3)
    focal_gamma: float = 2.0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True)
class InpaintLossWeights:
    """All 1 with a gradient penalty of 10 in the authors' release."""

    albedo: float = 1.0
    symmetry: float = 1.0
    image: float = 1.0
    adversarial: float = 1.0
    gradient_penalty: float = 10.0


@dataclass(frozen=True, kw_only=True)
class InpaintConfig:
    """Sym-UNet against PyramidGAN.

    geometry: whose shape, pose and light the albedo is unwrapped with in training. `fit`: the stored fit of
    the whole image (release; measured better, see the log); `encoder`: what the encoder makes of the masked
    image, which is what a photograph gets. encoder_width: the width of stage `morphable`. averaging: decay of
    the moving average of the inpainter's weights, which gets published; 0: the last weights, as in the paper.
    """

    width: float = 1.0
    discriminator_width: float = 1.0
    geometry: Geometry = "fit"
    encoder_width: float = 1.0
    precision: Precision = "float32"
    channels_last: bool | None = None
    compile: bool = False
    jitter: int = 0  # pixels that a training crop may lie off the middle; 16 in the paper, 0 measured better
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    discriminator_learning_rate: float = 3e-4
    averaging: float = 0.999
    loss_weights: InpaintLossWeights = field(default_factory=InpaintLossWeights)


StageConfig = MorphableConfig | SegmentConfig | InpaintConfig


def finetune_weights() -> MorphableLossWeights:
    """The terms that fine-tuning keeps: reconstruction, landmarks and the regularisers (supplementary
    4.3).
    """
    return MorphableLossWeights(shape=0, scale=0, translation=0, rotation=0, illumination=0, texture=0)
