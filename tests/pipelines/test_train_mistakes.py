"""Training that cannot work: said in one line, by name, before or when it happens."""

import io
from dataclasses import replace

import pytest
import torch
from toy_stage import toy_job

from facefill.errors import UserError
from pipelines.checkpoints import list_checkpoints, load_state, save_checkpoint
from pipelines.config_file import config_from_tree
from pipelines.progress import Event, Progress
from pipelines.run_model import default_run_model
from pipelines.steps import plan
from pipelines.train import train_stage
from pipelines.train_ray import Driver
from tests.support.tiny_run import tiny_tree


def train(job):
    return train_stage(job, Progress(io.StringIO()))


def test_a_learning_rate_that_diverges_is_named_with_the_samples(tmp_path):
    with pytest.raises(UserError, match=r"not finite 3 times in a row .*train/.*optimizer\.learning_rate"):
        train(toy_job(tmp_path, config={"learning_rate": 1e30}))


def test_losses_without_gradients_are_watched_too(tmp_path):
    with pytest.raises(UserError, match=r"not finite 3 times in a row up to step 6, on the samples train/3/"):
        train(toy_job(tmp_path, config={"poisoned_loss": 3}))


def test_what_every_worker_meets_is_not_tried_again(tmp_path, ray_session):
    """A checkpoint that fits no network: said once, by name; nothing is started again."""
    job = toy_job(tmp_path, steps=4)
    train(job)
    [last] = list_checkpoints(job.folder)
    state = load_state(last)
    state["network"]["0.weight"] = torch.zeros(3, 3)
    save_checkpoint(job.folder, last.stage, last.step, last.digest, last.world_size, state)
    said = io.StringIO()
    with pytest.raises(UserError, match="checkpoint-0000004 does not fit the networks of this stage"):
        train_stage(replace(job, steps=8, workers=1), Progress(said))
    assert "again" not in said.getvalue()


def test_losses_of_workers_count_from_the_last_checkpoint():
    driver = Driver(lambda event: None)

    def hear(kind, step):
        driver.hear(Event("train toy", kind, step, 100))
        return driver.losses

    assert [hear("start", 0), hear("start", 0), hear("checkpoint", 4), hear("start", 4)] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"batch_size": 28, "workers": (1, 4)},
            "batch_size 28 does not divide among 3 workers.*multiple of 12",
        ),
        ({"workers": (0, 2)}, r"toy\.workers is \(0, 2\): give 0"),
        ({"workers": -1}, r"toy\.workers is -1"),
        ({"accumulate": 3}, "does not divide into 3 parts"),
        ({"loader_threads": 0}, r"toy\.loader_threads is 0"),
        ({"evaluate_batches": -1}, r"toy\.evaluate_batches is -1: give a number of 0 or more"),
    ],
)
def test_numbers_that_cannot_work_together(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        train(toy_job(tmp_path, **changes))


def test_a_range_of_workers_is_looked_at_before_anything_is_done(tmp_path):
    tree = tiny_tree(str(tmp_path / "run"), workers=[1, 2])
    config = config_from_tree(tree, "tiny")
    assert config.stages.inpaint.training.workers == (1, 2)
    assert plan(config, default_run_model(), Progress(io.StringIO()))
    tree["stages"]["segment"]["training"]["workers"] = [1, 3]
    with pytest.raises(
        UserError, match=r"segment\.batch_size 2 does not divide among 3 workers.*multiple of 6"
    ):
        plan(config_from_tree(tree, "tiny"), default_run_model(), Progress(io.StringIO()))


def test_more_workers_or_gpus_than_the_cluster_has(tmp_path, ray_session):
    with pytest.raises(UserError, match="8 workers need a CPU each, the cluster has 4: ask for fewer"):
        train(toy_job(tmp_path, workers=8))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="1 workers need a GPU each, the cluster has 0: set gpu to false"):
            train(toy_job(tmp_path, workers=1, gpu=True))
