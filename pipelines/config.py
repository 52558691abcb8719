"""The run's settings as frozen dataclasses; every default that the paper has is the paper's.

They are read and checked in `config_file.py`, and nowhere else.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from facefill.config import InpaintConfig, MorphableConfig, OptimizerConfig, SegmentConfig, finetune_weights


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where Ray runs: `address` joins a cluster (so does RAY_ADDRESS); otherwise one is started here."""

    address: str | None = None
    num_cpus: int | None = None


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """How s3:// URLs are reached; what is empty comes from the standard environment (AWS_ENDPOINT_URL, ...).

    Keys are never settings: `profile` names one of ~/.aws, the others name environment variables, which every
    machine must have. anonymous: without keys, for public buckets.
    """

    endpoint_url: str = ""
    region: str = ""
    anonymous: bool = False
    profile: str = ""
    access_key_variable: str = ""
    secret_key_variable: str = ""
    session_token_variable: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The morphable model of all steps; `facefill models` says which files each kind needs.

    path: those files, on the machine that starts the run (`saved`: any URL); landmarks: a file that names the
    68 vertices of models that do not name them.
    """

    kind: Literal["default", "ict", "bfm2009", "statismo", "saved"] = "default"
    path: str = ""
    landmarks: str = ""


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Rendered stand-ins for the released datasets, written in their layouts. Counts of pictures; 0
    writes none.
    """

    celeba: int = 0
    three_hundred_w: int = 0
    celebamask_hq: int = 0
    pictures_per_identity: int = 4


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """One dataset in its released layout.

    source: a name in `sources/table.py`. root: folder or URL; empty takes the synthesized one of that source.
    landmarks: URL of a csv with 68 points per picture. undetected: what to do with its rows marked as
    guessed. split: the official partition, or by identity, where `held_out` is the share of identities (or of
    files, where identities are unknown) kept for validation and for test each. ground_truth: name of the
    morphable model that the dataset's own coefficients belong to (300W-3D's: bfm2009); they are taken where
    that is the model in use, else the faces are fitted. celeba: CelebA's own folder, from which CelebAMask-HQ
    takes partition and identities. fit: whether its faces are fitted and projected. encoder: weights folder
    of an earlier run, whose trained encoder makes the fits; empty fits landmarks and pixels. detect: find 68
    landmarks in every picture that has none or only five (needs `facefill[landmarks]`).
    """

    name: str
    source: str
    root: str = ""
    landmarks: str = ""
    undetected: Literal["reject", "keep"] = "reject"
    split: Literal["official", "identity"] = "official"
    held_out: float = 0.1
    limit: int | None = None
    ground_truth: str = ""
    celeba: str = ""
    fit: bool = True
    encoder: str = ""
    detect: bool = False


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Samples per tar and pictures at work at once."""

    samples_per_shard: int = 1000
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one stage runs, whatever it trains.

    batch_size: of all workers together. accumulate: parts of a worker's batch that pass one after the other,
    for less memory. workers: 0 in this process, else Ray Train workers; [fewest, most] takes as many as the
    cluster has room for, and goes on with fewer when machines are lost. threads: of torch per worker. Steps,
    not epochs, decide. checkpoint_every: the newest two are there to go on from; those of every `keep_every`
    steps are never removed (0: none).
    """

    data: tuple[str, ...] = ()
    steps: int
    batch_size: int = 28
    accumulate: int = 1
    workers: int | tuple[int, int] = 1
    threads: int = 1
    loader_threads: int = 1
    gpu: bool = False
    report_every: int = 10
    checkpoint_every: int = 500
    keep_every: int = 0
    evaluate_batches: int = 4


@dataclass(frozen=True, kw_only=True)
class MorphableStage:
    """Stage 1: supervised on ground truth or fits."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=100_000))
    model: MorphableConfig = field(default_factory=MorphableConfig)


@dataclass(frozen=True, kw_only=True)
class FinetuneStage:
    """Stage 1b: a tenth of the learning rate, reconstruction, landmarks and regularisers only."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=30_000))
    model: MorphableConfig = field(
        default_factory=lambda: MorphableConfig(
            optimizer=OptimizerConfig(learning_rate=1e-5), loss_weights=finetune_weights()
        )
    )


@dataclass(frozen=True, kw_only=True)
class SegmentStage:
    """Stage 2: face parsing."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=50_000))
    model: SegmentConfig = field(default_factory=SegmentConfig)


@dataclass(frozen=True, kw_only=True)
class InpaintStage:
    """Stage 3: albedo completion."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=30_000))
    model: InpaintConfig = field(default_factory=InpaintConfig)


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """The four stages in the order in which they run."""

    morphable: MorphableStage = field(default_factory=MorphableStage)
    morphable_finetune: FinetuneStage = field(default_factory=FinetuneStage)
    segment: SegmentStage = field(default_factory=SegmentStage)
    inpaint: InpaintStage = field(default_factory=InpaintStage)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A search over the inpainter's settings.

    space: dotted path below `stages.inpaint.model` to a list of choices, or to {low, high, log}. trials 0
    skips it.
    """

    trials: int = 0
    steps: int = 200
    concurrent: int = 1
    workers: int = 0
    metric: str = "metric/psnr_hole"
    mode: Literal["max", "min"] = "max"
    space: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which held-back pictures are completed and measured."""

    data: tuple[str, ...] = ()
    split: Literal["validation", "test"] = "test"
    images: int = 100
    lpips_backbone: str = ""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that one `facefill run` does."""

    name: str
    output: str
    seed: int = 0
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    datasets: tuple[DatasetConfig, ...] = ()
    shard: ShardConfig = field(default_factory=ShardConfig)
    stages: StagesConfig = field(default_factory=StagesConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: str = ""


def config_tree(config: Any) -> dict[str, Any]:
    """The resolved config as plain data, as it is saved beside the results."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def digest(*parts: Any) -> str:
    """Short fingerprint of plain data; equal settings have equal digests."""
    plain = [
        dataclasses.asdict(p) if dataclasses.is_dataclass(p) and not isinstance(p, type) else p for p in parts
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
