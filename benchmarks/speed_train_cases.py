"""The steps that are timed: every stage in every setting, and a plain loop over the inpainter's networks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.faces import drawn_faces
from facefill.config import (
    InpaintConfig,
    MorphableConfig,
    Precision,
    SegmentConfig,
    StageConfig,
    finetune_weights,
)
from facefill.face_parsing import BACKGROUND, FACE
from facefill.geometry.reconstruction import fit_to_vector, reconstruct
from facefill.geometry.texture import coverage, unwrap
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.encoder import Encoder
from facefill.networks.pyramid_gan import PyramidDiscriminator
from facefill.networks.sym_unet import SymUNet
from facefill.samples import IMAGE_SIZE
from facefill.stages import Assets, Batch, Stage, build_stage


@dataclass(frozen=True)
class Setting:
    """How the networks compute."""

    precision: Precision
    channels_last: bool | None
    compiled: bool = False

    def __str__(self) -> str:
        layout = {None: "fastest layout", True: "channels last", False: "plain layout"}[self.channels_last]
        return f"{self.precision}, {layout}{', torch.compile' if self.compiled else ''}"


@dataclass(frozen=True)
class Trained:
    """One case; `step` takes a step."""

    name: str
    setting: Setting
    step: Callable[[], object]
    flops: float  # of one step, both of multiplications and additions
    likeness: float  # the least of its first gradients to those of the stage's first case


@dataclass(frozen=True)
class Measure:
    """What a stage's first case gives to the others: the gradients of its first step, one of every network,
    and the FLOP of a step, which all share.
    """

    gradients: list[Tensor]
    flops: float


def settings(device: torch.device, with_compile: bool) -> list[Setting]:
    """Every combination that the device can run; the first is what the others are compared with."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    found = [Setting(precision, layout) for precision in precisions for layout in (False, True)]
    if with_compile:
        found += [replace(setting, compiled=True) for setting in found]
    if device.type == "cpu":  # refused by the stages: its gradients were wrong
        found = [setting for setting in found if not (setting.compiled and setting.precision == "bfloat16")]
    return found


def training_batch(count: int, device: torch.device) -> tuple[Batch, Assets]:
    """`count` drawn faces with every field of a stage, and what the stages are built on."""
    faces = drawn_faces(count)
    with torch.no_grad():
        mesh = reconstruct(faces.fit, faces.model, faces.atlas, IMAGE_SIZE, IMAGE_SIZE)
        texture, visible = unwrap(faces.image, mesh.projected, faces.model, faces.atlas, mesh.fragments)
        covered = coverage(mesh.fragments)[:, 0] > 0
    batch = {
        "image": faces.image,
        "landmarks": faces.landmarks,
        "parsing": torch.where(covered, FACE, BACKGROUND),
        "fit": fit_to_vector(faces.fit),
        "uv_texture": texture,
        "uv_visible": visible,
    }
    on_device: Batch = {name: value.to(device) for name, value in batch.items()}
    on_device |= {"seed": torch.arange(count), "key": [f"drawn/{number}" for number in range(count)]}
    torch.manual_seed(0)
    parents = {"encoder": Encoder().state_dict(), "albedo_decoder": AlbedoDecoder().state_dict()}
    return on_device, Assets(faces.model, faces.atlas, parents)


def config_of(stage: str, setting: Setting) -> StageConfig:
    """The stage's own settings at full width."""
    configs: dict[str, StageConfig] = {
        "morphable": MorphableConfig(),
        "morphable_finetune": MorphableConfig(loss_weights=finetune_weights()),
        "segment": SegmentConfig(),
        "inpaint": InpaintConfig(),
    }
    return replace(
        configs[stage],
        precision=setting.precision,
        channels_last=setting.channels_last,
        compile=setting.compiled,
    )


class Counted(TorchDispatchMode):
    """Counts the multiplications and additions of convolutions and matrix products while it is entered.

    torch's own counter cannot follow `autograd.grad` to parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=answer)
        return answer


class GradientLog:
    """Stands where ranks average their gradients, once for every network; keeps copies until it is full."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []
        self.full = False

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not self.full:
            self.kept.append(torch.cat([gradient.detach().float().flatten().cpu() for gradient in gradients]))
        return torch.nn.utils.get_total_norm(gradients)


def trained(
    name: str, setting: Setting, batch: Batch, assets: Assets, device: torch.device, measure: Measure | None
) -> tuple[Trained, Measure]:
    """A stage that has taken its first steps, and the measure: its own where none is given."""
    kept = assets if name in ("morphable_finetune", "inpaint") else replace(assets, parents={})
    log = GradientLog()
    torch.manual_seed(1)
    stage = build_stage(name, config_of(name, setting), kept, device, log)
    step = partial(step_of, stage, batch)
    step()
    log.full = True
    if measure is None:
        with Counted() as counted:
            step()
            step()
        measure = Measure(log.kept, counted.flops / 2)
    else:
        step()
    likeness = min(cosine(*pair) for pair in zip(log.kept, measure.gradients, strict=True))
    return Trained(name, setting, step, measure.flops, likeness), measure


def step_of(stage: Stage, batch: Batch) -> None:
    """One update, to its end on the device."""
    stage.train_step([batch])
    wait(batch["image"].device)


def cosine(one: Tensor, other: Tensor) -> float:
    """Of two gradients as vectors."""
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alone_cases(count: int, device: torch.device) -> list[Trained]:
    """A plain loop over Sym-UNet and PyramidGAN, one update each, without geometry, penalty or encoder: what
    a step cannot be faster than with the same networks.
    """
    return [network_loop(count, device, setting) for setting in settings(device, False)]


def network_loop(count: int, device: torch.device, setting: Setting) -> Trained:
    """The loop of one setting."""
    torch.manual_seed(0)
    inpainter, judge = SymUNet().to(device), PyramidDiscriminator().to(device)
    inpainter.channels_last = judge.channels_last = setting.channels_last
    descents = [torch.optim.Adam(network.parameters(), 1e-4, fused=True) for network in (inpainter, judge)]
    albedo = torch.rand(count, 3, 192, 256, device=device)
    visible = torch.ones(count, 1, 192, 256, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=setting.precision == "bfloat16"):
            completed, log_sigma = inpainter(albedo, visible)
            for parameter in judge.parameters():
                parameter.requires_grad_(False)
            verdict = torch.stack([scores.mean() for scores in judge(completed)]).sum()
            loss = (completed - albedo).abs().mean() + log_sigma.square().mean() - verdict
            loss.backward()
            for parameter in judge.parameters():
                parameter.requires_grad_(True)
            margins = [
                (1 - real).relu().mean() + (1 + made).relu().mean()
                for real, made in zip(judge(albedo), judge(completed.detach()), strict=True)
            ]
            torch.stack(margins).sum().backward()
        for descent in descents:
            descent.step()
            descent.zero_grad(set_to_none=True)
        wait(device)

    step()
    with Counted() as counted:
        step()
    return Trained("networks alone", setting, step, counted.flops, float("nan"))
