"""The benchmark of training steps: what it counts, where it runs, and that its schedule is the paper's."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import speed_train_cases
from benchmarks.speed_train import PAPER_BATCH, PAPER_STEPS, compile_obstacle, rows
from benchmarks.speed_train_cases import (
    Setting,
    config_of,
    network_loop,
    settings,
    trained,
    training_batch,
)
from facefill.config import STAGES, StageConfig
from pipelines.config_file import load_config

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
BARE = """
import sys

for name in ("ray", "mlflow", "cv2", "yaml", "fsspec", "PIL", "scipy", "pyarrow", "numba", "pydantic"):
    sys.modules[name] = None
from benchmarks import __main__, speed, speed_train

print(speed.measure_runner(None))
sys.exit(__main__.main(["speed", "train", "--rounds", "0"]))
"""


def test_schedule_is_that_of_the_packaged_config() -> None:
    stages = load_config("paper", [f"datasets.{place}.root=x" for place in range(3)]).stages
    assert set(PAPER_STEPS) == set(STAGES)
    for name, steps in PAPER_STEPS.items():
        training = getattr(stages, name).training
        assert (training.steps, training.batch_size) == (steps, PAPER_BATCH)


def test_needs_torch_and_numpy_alone() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "The runner is not timed: fsspec is not installed.\n", done.stderr
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)  # the verb's own word on --rounds 0


def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "absent"),))
    assert "absent" in compile_obstacle(CPU) or "compiler" in compile_obstacle(CPU)


def test_a_mistake_is_one_line() -> None:
    command = [sys.executable, "-m", "benchmarks.speed_train", "--rounds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_settings() -> None:
    on_cpu, on_gpu = settings(CPU, True), settings(torch.device("cuda"), True)
    assert on_cpu[0] == on_gpu[0] == Setting("float32", False)
    assert len(on_gpu) == len(set(on_gpu)) == 8
    assert set(on_gpu) - set(on_cpu) == {Setting("bfloat16", layout, True) for layout in (False, True)}


def test_a_stage_is_timed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(stage: str, setting: Setting) -> StageConfig:
        return replace(config_of(stage, setting), width=0.125)

    monkeypatch.setattr(speed_train_cases, "config_of", narrow)
    batch, assets = training_batch(1, CPU)
    first, measure = trained("segment", Setting("float32", False), batch, assets, CPU, None)
    other, _ = trained("segment", Setting("bfloat16", True), batch, assets, CPU, measure)
    _, counted = trained("segment", Setting("bfloat16", True), batch, assets, CPU, None)
    assert first.likeness == pytest.approx(1)
    assert 0.95 < other.likeness < 1
    assert first.flops == other.flops == counted.flops > 1e8
    flipped = replace(measure, gradients=[gradient.flip(0) for gradient in measure.gradients])
    wrong, _ = trained("segment", Setting("float32", False), batch, assets, CPU, flipped)
    assert wrong.likeness < 0.5
    table = list(rows([first, other], 1, 1, CPU, {"float32": 1e12, "bfloat16": 2e12}))
    (row, seconds), (other_row, other_seconds) = table
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["segment", "float32, plain layout"]
    assert cells[6] == f"{first.flops / seconds / 1e12:.0%}"
    assert cells[8] == f"{seconds * PAPER_BATCH * PAPER_STEPS['segment'] / 3600:.1f} h"
    assert other_row.split("|")[7].strip() == f"{other.flops / other_seconds / 2e12:.0%}"


def test_loop_over_the_networks_alone_counts_what_both_do() -> None:
    case = network_loop(1, CPU, Setting("bfloat16", True))
    assert 15e9 < case.flops < 60e9  # 3 x 2 x (5 + 3 x 0.4) GMAC
