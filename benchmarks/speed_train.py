"""How fast the training stages are on the device at hand, and what the paper's schedule would take.

`python -m benchmarks.speed_train`: torch and numpy suffice. Full width, on drawn faces that are already in
memory. One case after the other takes two steps, round by round: the inpainter's discriminator learns every
other step. `s/step` is the shortest: on a CPU its time over all threads by their number, on a GPU that of
the clock; `clock` is the median by the clock. `share` is that of the highest rate which convolutions as the
networks have them, or a product of matrices, reach in the same run. `gradient` is the cosine of the first
step's gradient to that of the stage's first case.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.faces import drawn_faces
from benchmarks.timing import machine
from facefill.config import (
    STAGES,
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

PAPER_STEPS = {"morphable": 100_000, "morphable_finetune": 30_000, "segment": 50_000, "inpaint": 30_000}
PAPER_BATCH = 28
HEADINGS = ("stage", "case", "s/step", "clock", "images/s", "GFLOP/s", "share", "gradient", "paper")


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
    likeness: float  # of its first gradient to that of the stage's first case


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
    """Stands where ranks average their gradients; keeps those of the first update on the CPU."""

    def __init__(self) -> None:
        self.first: Tensor | None = None

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.first is None:
            self.first = torch.cat([gradient.detach().float().flatten().cpu() for gradient in gradients])
        return torch.nn.utils.get_total_norm(gradients)


def trained(
    name: str, setting: Setting, batch: Batch, assets: Assets, device: torch.device, expected: Tensor | None
) -> tuple[Trained, Tensor]:
    """A stage that has taken its first two steps, and its first gradient."""
    kept = assets if name in ("morphable_finetune", "inpaint") else replace(assets, parents={})
    log = GradientLog()
    torch.manual_seed(1)
    stage = build_stage(name, config_of(name, setting), kept, device, log)
    step = partial(step_of, stage, batch)
    step()
    assert log.first is not None
    step()
    flops = float("nan")
    if not setting.compiled:  # what it fuses would not be counted
        with Counted() as counted:
            step()
            step()
        flops = counted.flops / 2
    likeness = 1.0 if expected is None else cosine(log.first, expected)
    return Trained(name, setting, step, flops, likeness), log.first


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


def peaks(count: int, device: torch.device) -> dict[Precision, float]:
    """FLOP/s that convolutions of the inpainter's middle levels, or a matrix product, reach at best."""
    kinds: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    found: dict[Precision, float] = {}
    for precision, dtype in kinds.items():
        jobs: list[tuple[Callable[[], object], float]] = []
        for channels, height, width in ((64, 96, 128), (128, 48, 64)):
            maps = torch.randn(count, channels, height, width, device=device, dtype=dtype)
            maps = maps.contiguous(memory_format=torch.channels_last)
            weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
            convolve = partial(torch.nn.functional.conv2d, maps, weight, padding=1)
            jobs.append((convolve, 2.0 * maps.numel() * channels * 9))
        size = 8192 if device.type == "cuda" else 1024
        one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        jobs.append((partial(torch.matmul, one, other), 2.0 * size**3))
        rates = []
        for job, flops in jobs:
            seconds = min(clocked(partial(finished, job, device), device)[0] for _ in range(8))
            rates.append(flops / seconds)
        found[precision] = max(rates)
    return found


def finished(job: Callable[[], object], device: torch.device) -> None:
    """Do the job to its end on the device."""
    job()
    wait(device)


def clocked(job: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of work and of the clock. Work on a CPU is CPU time over the threads of torch, which other
    programs disturb least; on a GPU it is the clock's.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    job()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return (wall if device.type == "cuda" else cpu / torch.get_num_threads()), wall


def timed(cases: list[Trained], rounds: int, device: torch.device) -> list[list[tuple[float, float]]]:
    """Seconds per step of every case in every round: work and clock, each the mean of two steps."""
    found: list[list[tuple[float, float]]] = [[] for _ in cases]
    for _ in range(rounds):
        for times, case in zip(found, cases, strict=True):
            pair = [clocked(case.step, device) for _ in range(2)]
            times.append((mean(work for work, _ in pair), mean(wall for _, wall in pair)))
    return found


def rows(
    cases: list[Trained], rounds: int, count: int, device: torch.device, peak: dict[Precision, float]
) -> Iterator[tuple[str, float]]:
    """A row of Markdown for every case, and the seconds of work of its step."""
    for case, times in zip(cases, timed(cases, rounds, device), strict=True):
        work = min(work for work, _ in times)
        clock = median(wall for _, wall in times)
        share = case.flops / work / peak[case.setting.precision]
        hours = ""
        if case.name in PAPER_STEPS:
            hours = f"{work * PAPER_BATCH / count * PAPER_STEPS[case.name] / 3600:.1f} h"
        numbers = (
            f"{work:.3f}",
            f"{clock:.3f}",
            f"{count / work:.1f}",
            shown(case.flops / work / 1e9, "{:.0f}"),
        )
        last = (shown(share, "{:.0%}"), shown(case.likeness, "{:.4f}"), hours)
        yield f"| {' | '.join((case.name, str(case.setting), *numbers, *last))} |", work


def shown(value: float, form: str) -> str:
    """A number, or nothing where it is not one."""
    return "" if value != value else form.format(value)


def measure_train(rounds: int, count: int | None = None, with_compile: bool = True) -> Iterator[str]:
    """Sections of Markdown: peaks, then each stage in every setting, then the paper's whole schedule.

    count: faces per step; by default 8 on a CPU and the paper's 28 on a GPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = count or (PAPER_BATCH if device.type == "cuda" else 8)
    peak = peaks(count, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rates = ", ".join(f"{precision} {rate / 1e9:,.0f} GFLOP/s" for precision, rate in peak.items())
    yield f"{name}, {count} faces a step. Highest rates measured: {rates}.\n\n{heading()}"
    batch, assets = training_batch(count, device)
    schedule = 0.0
    for stage in STAGES:
        works = []
        expected: Tensor | None = None
        cases = []
        for setting in settings(device, with_compile):
            case, gradient = trained(stage, setting, batch, assets, device, expected)
            expected = gradient if expected is None else expected
            cases.append(case)
        for row, work in rows(cases, rounds, count, device, peak):
            yield row
            works.append(work)
        schedule += min(works) * PAPER_BATCH / count * PAPER_STEPS[stage]
        del cases
        gc.collect()
    for row, _ in rows(alone_cases(count, device), rounds, count, device, peak):
        yield row
    yield f"\nThe paper's schedule, each stage in its fastest setting: {schedule / 3600:.1f} hours."


def heading() -> str:
    """The head of the table."""
    return f"| {' | '.join(HEADINGS)} |\n| --- | --- |" + " ---: |" * (len(HEADINGS) - 2)


def main() -> int:
    """`python -m benchmarks.speed_train`, for machines with torch and numpy alone."""
    parser = argparse.ArgumentParser(prog="benchmarks/speed_train.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is timed in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--faces", type=int, help="faces per step")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    chosen = parser.parse_args()
    if min(chosen.rounds, chosen.threads, chosen.faces or 1) < 1:
        print("benchmarks: --rounds, --threads and --faces count from 1", file=sys.stderr)
        return 2
    torch.set_num_threads(chosen.threads)
    print(machine(), flush=True)
    for section in measure_train(chosen.rounds, chosen.faces, not chosen.no_compile):
        print(section, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
