"""The runner: equal bits wherever it runs and however often it is killed, and no half-finished work."""

import io
import json
import os
import re
import signal
import threading
import time

import pytest
import torch
from toy_stage import toy_job

from facefill.errors import UserError
from pipelines.checkpoints import list_checkpoints, read_weights
from pipelines.progress import Progress
from pipelines.recording import read_metrics
from pipelines.stop_notice import Terminated
from pipelines.train import train_stage
from pipelines.train_job import finished


def train(job):
    return train_stage(job, Progress(io.StringIO()))


def network_of(job):
    return read_weights(job.weights_folder)["network"]


def assert_equal_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def losses_of(job):
    lines = read_metrics(f"{job.folder}/metrics.jsonl")
    return [(line["step"], line["loss/square"]) for line in lines if line["kind"] == "metrics"]


def test_leaves_weights_metrics_checkpoints_and_done(tmp_path):
    job = toy_job(tmp_path, evaluate_every=6)
    result = train(job)
    assert result.steps == 12 and result.metrics["loss/square"] > 0 and result.metrics["metric/error"] > 0
    assert [checkpoint.step for checkpoint in list_checkpoints(job.folder)] == [8, 12]
    assert [step for step, _ in losses_of(job)] == [3, 6, 9, 12]
    kinds = [(line["kind"], line["step"]) for line in read_metrics(f"{job.folder}/metrics.jsonl")]
    assert ("evaluation", 6) in kinds and ("evaluation", 12) in kinds
    assert sorted(path.name for path in (tmp_path / "stages/toy/pictures").iterdir()) == [
        "0000006.jpg",
        "0000012.jpg",
    ]
    card = json.loads((tmp_path / "weights/toy/card.json").read_text())
    assert card["stage"] == "toy" and card["steps"] == 12 and card["networks"]["network"]["bytes"] > 0
    assert finished(job) == result


def test_metrics_are_means_of_all_steps_since_the_last_report(tmp_path):
    every, thirds = toy_job(tmp_path / "every", report_every=1), toy_job(tmp_path / "thirds")
    train(every), train(thirds)
    singles = [value for _, value in losses_of(every)]
    expected = [sum(singles[first : first + 3]) / 3 for first in range(0, 12, 3)]
    assert [value for _, value in losses_of(thirds)] == pytest.approx(expected, rel=1e-6)


def test_a_finished_job_is_not_repeated_and_another_digest_is_refused(tmp_path):
    job = toy_job(tmp_path)
    first = train(job)
    assert train(job) == first
    with pytest.raises(UserError, match=r"another configuration.*remove that folder"):
        train(toy_job(tmp_path, digest="e" * 64))
    with pytest.raises(UserError, match="beyond the 6"):
        train(toy_job(tmp_path, steps=6))


def test_more_steps_go_on_where_fewer_ended(tmp_path):
    train(toy_job(tmp_path / "two", steps=8))
    train(toy_job(tmp_path / "two"))
    train(toy_job(tmp_path / "one"))
    assert_equal_bits(network_of(toy_job(tmp_path / "two")), network_of(toy_job(tmp_path / "one")))


@pytest.mark.parametrize("at", [2, 4, 7, 11])
def test_a_broken_run_goes_on_to_the_same_bits(tmp_path, at):
    settings = {"what": "raise", "at": at, "marker": str(tmp_path / "marker")}
    job = toy_job(tmp_path / "broken", config=settings, report_every=2)
    with pytest.raises(RuntimeError, match="disturbed"):
        train(job)
    assert finished(job) is None
    train(job)
    whole = toy_job(tmp_path / "whole", report_every=2)
    train(whole)
    assert_equal_bits(network_of(job), network_of(whole))
    assert losses_of(job) == losses_of(whole)


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    job = toy_job(tmp_path, config={"what": "interrupt", "at": 6, "marker": str(tmp_path / "marker")})
    with pytest.raises(KeyboardInterrupt, match="same command goes on from its checkpoint at step 4"):
        train(job)
    assert train(job).steps == 12


def test_sigterm_stops_after_the_step_with_a_checkpoint(tmp_path):
    settings = {"what": "SIGTERM", "at": 5, "marker": str(tmp_path / "marker")}
    job, whole = toy_job(tmp_path / "stopped", config=settings), toy_job(tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match="same command goes on from its checkpoint at step 6"):
        train(job)
    assert signal.getsignal(signal.SIGTERM) is before
    train(job), train(whole)
    assert_equal_bits(network_of(job), network_of(whole))


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path):
    job = toy_job(tmp_path)
    (tmp_path / "stages/toy").mkdir(parents=True)
    (tmp_path / "stages/toy/checkpoint-0000008").write_bytes(b"in its place")
    with pytest.raises(NotADirectoryError):
        train(job)
    assert finished(job) is None
    (tmp_path / "stages/toy/checkpoint-0000008").unlink()
    assert [checkpoint.step for checkpoint in list_checkpoints(job.folder)] == [4]
    train(job)


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    job, whole = toy_job(tmp_path / "damaged"), toy_job(tmp_path / "whole")
    train(whole)
    train(job)
    (tmp_path / "damaged/stages/toy/done.json").unlink()
    state = tmp_path / "damaged/stages/toy/checkpoint-0000012/state.pt"
    state.write_bytes(state.read_bytes()[:-40])
    (tmp_path / "damaged/stages/toy/checkpoint-0000008/stray.part").write_bytes(b"")
    train(job)
    assert_equal_bits(network_of(job), network_of(whole))


def test_bad_batches_spoil_nothing_and_three_in_a_row_stop_with_their_names(tmp_path):
    with pytest.raises(UserError, match=r"3 times in a row up to step 8, on the samples train/5/0/0"):
        train(toy_job(tmp_path, config={"poison": 5}))
    state = torch.load(tmp_path / "stages/toy/checkpoint-0000004/state.pt", weights_only=True)
    assert all(value.isfinite().all() for value in state["network"].values())


def test_numbers_that_cannot_work_are_refused(tmp_path):
    with pytest.raises(UserError, match="batch_size 8 does not divide among 3 workers"):
        train(toy_job(tmp_path, workers=3))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch sees no GPU"):
            train(toy_job(tmp_path, gpu=True))
    with pytest.raises(UserError, match=r"toy\.steps is 0"):
        train(toy_job(tmp_path, steps=0))


def test_one_worker_equals_this_process_bit_for_bit(tmp_path, ray_session):
    here = toy_job(tmp_path / "here")
    warning = "three shards, $MALLOC_TRIM_THRESHOLD_ bytes are kept"  # the worker's own environment
    there = toy_job(tmp_path / "there", workers=1, config={"warning": warning})
    lines = io.StringIO()
    train(here), train_stage(there, Progress(lines))
    assert lines.getvalue().count("train toy: three shards, 4294967296 bytes are kept\n") == 1
    assert_equal_bits(network_of(here), network_of(there))
    assert losses_of(here) == losses_of(there)


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory, ray_session):
    """The network that two undisturbed workers train."""
    job = toy_job(tmp_path_factory.mktemp("whole"), workers=2)
    train(job)
    return network_of(job)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("SIGKILL", "the workers were started again; goes on from step 4"),
        ("SIGTERM", "a worker was told to end .SIGTERM.; all stopped with a checkpoint"),
    ],
)
def test_a_signal_to_a_worker_costs_no_bit(tmp_path, whole_of_two, what, words):
    job = toy_job(
        tmp_path, workers=2, config={"what": what, "at": 6, "marker": str(tmp_path / "marker"), "pause": 0.1}
    )
    said = io.StringIO()
    train_stage(job, Progress(said))
    assert (tmp_path / "marker").exists() and re.search(words, said.getvalue())
    assert_equal_bits(network_of(job), whole_of_two)
    assert [step for step, _ in losses_of(job)] == [3, 6, 9, 12]


def test_sigterm_to_the_driver_stops_all_workers_and_costs_no_bit(tmp_path, whole_of_two):
    job = toy_job(tmp_path, workers=2, config={"pause": 1.0}, checkpoint_every=1)

    def terminate():
        while len(list_checkpoints(job.folder)) == 0:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(Terminated, match="goes on from its checkpoint at step") as stopped:
        train(job)
    step = list_checkpoints(job.folder)[-1].step
    assert step < 12 and f"at step {step}" in str(stopped.value)
    assert signal.getsignal(signal.SIGTERM) is before
    train(job)
    assert_equal_bits(network_of(job), whole_of_two)


def test_a_diverged_job_is_not_tried_again(tmp_path, ray_session):
    job = toy_job(tmp_path, workers=2, config={"poison": 2, "poisoned_rank": 1})
    with pytest.raises(UserError, match=r"on the samples .*train/2/1/0"):
        train(job)


def test_ctrl_c_ends_the_workers_and_keeps_the_checkpoint(tmp_path, ray_session):
    job = toy_job(tmp_path, workers=1, steps=10**6, checkpoint_every=50, report_every=50)

    def press():
        while len(list_checkpoints(job.folder)) == 0:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt, match="goes on from its checkpoint at step"):
        train(job)
    assert signal.getsignal(signal.SIGINT) is before
    assert list_checkpoints(job.folder)[-1].step >= 50
