"""The four stages for real, on two ranks: killed at any moment they go on to the same bits; and what they
cannot use is said by name.
"""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from two_ranks import train_on_two

from facefill.config import STAGES
from facefill.errors import UserError
from pipelines.checkpoints import list_checkpoints, load_state
from pipelines.progress import Progress
from pipelines.run_model import RunModel, default_run_model
from pipelines.stage_builder import check_inputs
from pipelines.train import train_stage
from pipelines.train_job import TrainJob
from tests.support.trained import WIDTH
from tests.support.training_shards import write_training_shards

WIDTHS = {
    "morphable": {"width": WIDTH},
    "morphable_finetune": {"width": WIDTH},
    "segment": {"width": WIDTH},
    "inpaint": {"width": WIDTH, "encoder_width": WIDTH, "discriminator_width": WIDTH},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, and with the weights of stage morphable, which others start from."""
    folder = tmp_path_factory.mktemp("exact")
    write_training_shards(str(folder / "shards"))
    train_stage(job_of(folder, "morphable", folder, workers=0, steps=1), Progress(io.StringIO()))
    return folder


def job_of(trained: Path, stage: str, output: Path, **changes) -> TrainJob:
    """Six steps of a stage, two faces each."""
    parents = {"morphable": str(trained / "weights" / "morphable")}
    settings = {"digest": "e" * 64, "steps": 6, "batch_size": 2, "workers": 2, "seed": 4, "accumulate": 1}
    settings |= {"report_every": 2, "checkpoint_every": 2, "evaluate_batches": 1}
    return TrainJob(
        stage=stage,
        config=WIDTHS[stage],
        output=str(output),
        data=(str(trained / "shards"),),
        model=default_run_model(),
        parents=parents if stage in ("morphable_finetune", "inpaint") else {},
        **(settings | changes),
    )


def assert_equal_bits(one: Any, other: Any) -> None:
    """Every weight, averaged weight and number of an optimizer's state."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other) and one.dtype == other.dtype
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal_bits(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal_bits(*pair)
    else:
        assert one == other


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_on_two_ranks_goes_on_to_the_same_bits(
    trained: Path, tmp_path: Path, stage: str
) -> None:
    whole = job_of(trained, stage, tmp_path / "whole")
    killed = job_of(trained, stage, tmp_path / "killed")
    train_on_two(whole)
    train_on_two(killed, kill_after=2)
    assert list_checkpoints(killed.folder)[-1].step < 6
    train_on_two(killed)
    ends = [list_checkpoints(job.folder)[-1] for job in (whole, killed)]
    assert [end.step for end in ends] == [6, 6]
    assert_equal_bits(*(load_state(end) for end in ends))
    cards = [json.loads((Path(job.weights_folder) / "card.json").read_text()) for job in (whole, killed)]
    assert cards[0]["networks"] == cards[1]["networks"] and cards[0]["metrics"].keys() > {"time/step"}


def test_another_number_of_workers_goes_on_and_says_so(trained: Path, tmp_path: Path) -> None:
    train_on_two(job_of(trained, "segment", tmp_path, steps=2))
    said = io.StringIO()
    train_stage(job_of(trained, "segment", tmp_path, steps=3, workers=0), Progress(said))
    assert "goes on with 1 workers where 2 began; the order of the data changes here" in said.getvalue()


def test_what_a_stage_cannot_use_is_named_before_it_starts(trained: Path, tmp_path: Path) -> None:
    job = job_of(trained, "inpaint", tmp_path)
    job.check(), check_inputs(job)
    other = RunModel("default", "another", "0" * 64)
    for changes, words in (
        ({"parents": {}}, "starts from the encoder of stage morphable, and no parent is named"),
        ({"parents": {"morphable": str(tmp_path)}}, "no trained weights here.*train that stage first"),
        (
            {"config": job.config | {"encoder_width": 0.25}},
            "width 0.125, and stage inpaint has encoder_width",
        ),
        (
            {
                "stage": "morphable_finetune",
                "config": job_of(trained, "morphable", tmp_path).config | {"located": True},
            },
            "trained with located False, and stage morphable_finetune has located True",
        ),
        ({"model": other}, "trained with morphable model"),
        ({"model": other, "stage": "morphable", "parents": {}}, "projected with morphable model"),
        ({"batch_size": 512}, "has 10 samples, too few for a batch of 256 on each of 2 workers"),
        (
            {"workers": (1, 2), "batch_size": 3},
            "batch_size 3 does not divide among 2 workers: make it a mult",
        ),
        ({"workers": (2, 1)}, r"workers is \(2, 1\): give"),
        ({"keep_every": -1}, "keep_every is -1"),
    ):
        wrong = replace(job, **changes)
        with pytest.raises(UserError, match=words):
            wrong.check()
            check_inputs(wrong)


def test_networks_of_another_architecture_are_named(trained: Path, tmp_path: Path) -> None:
    job = job_of(trained, "segment", tmp_path, workers=0, steps=1)
    train_stage(job, Progress(io.StringIO()))
    wider = replace(job, steps=2, config={"width": 0.25})  # under the same digest, by some mistake
    with pytest.raises(UserError, match=r"checkpoint-0000001 does not fit the networks of this stage"):
        train_stage(wider, Progress(io.StringIO()))
    parent = tmp_path / "parent"
    shutil.copytree(trained / "weights" / "morphable", parent)
    card = json.loads((parent / "card.json").read_text())
    card["config"]["width"] = 0.25
    (parent / "card.json").write_text(json.dumps(card))
    job = job_of(trained, "inpaint", tmp_path, workers=0)
    job = replace(job, config=job.config | {"encoder_width": 0.25}, parents={"morphable": str(parent)})
    with pytest.raises(UserError, match=f"{parent}: these weights do not fit stage inpaint"):
        train_stage(job, Progress(io.StringIO()))
