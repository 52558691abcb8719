"""Checkpoints that are written while training goes on: whole, in time, and never lost in silence."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from toy_stage import toy_job

from pipelines.checkpoint_writer import CheckpointWriter, in_host_memory
from pipelines.checkpoints import list_checkpoints, load_state, newest_checkpoint


def steps_of(job):
    return [checkpoint.step for checkpoint in list_checkpoints(job.folder)]


def test_what_changes_afterwards_is_not_in_it(tmp_path):
    job = toy_job(tmp_path)
    weight = torch.zeros(4 << 20)  # 16 MB: still being written when it changes
    with CheckpointWriter(job, 1, print) as writer:
        writer.save(1, {"weight": weight, "of": [{"rate": 0.1}], "step": 1})
        weight += 1
        writer.save(2, {"weight": weight, "of": [{"rate": 0.2}], "step": 2})
        weight += 1
    first, second = (load_state(checkpoint) for checkpoint in list_checkpoints(job.folder))
    assert first["weight"].unique().tolist() == [0.0] and first["of"] == [{"rate": 0.1}]
    assert second["weight"].unique().tolist() == [1.0] and second["step"] == 2


def test_a_copy_keeps_the_order_in_memory():
    weight = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    copy = in_host_memory({"weight": weight})["weight"]
    assert torch.equal(copy, weight) and copy.stride() == weight.stride()
    assert copy.data_ptr() != weight.data_ptr()


def test_it_is_announced_once_when_it_is_there(tmp_path):
    job, announced = toy_job(tmp_path), []
    with CheckpointWriter(job, 1, lambda step: announced.append((step, steps_of(job)))) as writer:
        writer.look()
        writer.save(4, {"weight": torch.zeros(3)})
        while not announced:
            writer.look()
            time.sleep(0.01)
        writer.look(), writer.wait()
        writer.save(8, {"weight": torch.zeros(3)})
    assert announced == [(4, [4]), (8, [4, 8])]


def test_kept_ones_stay_and_of_others_the_newest_two(tmp_path):
    job = toy_job(tmp_path, keep_every=4)
    with CheckpointWriter(job, 1, print) as writer:
        for step in range(1, 12):
            writer.save(step, {"step": step})
    assert steps_of(job) == [4, 8, 10, 11]
    assert [checkpoint.kept for checkpoint in list_checkpoints(job.folder)] == [True, True, False, False]


def test_a_failed_one_is_an_error_and_the_one_before_serves(tmp_path):
    job = toy_job(tmp_path)
    with pytest.raises(NotADirectoryError), CheckpointWriter(job, 1, print) as writer:
        writer.save(4, {"step": 4})
        writer.wait()
        (tmp_path / "stages/toy/checkpoint-0000008").write_bytes(b"in its place")
        writer.save(8, {"step": 8})
    assert newest_checkpoint(job.folder, job.digest, 12).step == 4
    (tmp_path / "stages/toy/checkpoint-0000012").write_bytes(b"in its place")
    with pytest.raises(ValueError, match="of the training"), CheckpointWriter(job, 1, print) as writer:
        writer.save(12, {"step": 12})
        raise ValueError("of the training")


def save_without_end(job):
    with CheckpointWriter(job, 1, print) as writer:
        writer.save(4, {"weight": torch.full((1000,), 4.0)})
        writer.save(8, {"weight": torch.rand(16 << 20)})


def test_killed_in_the_middle_the_one_before_serves(tmp_path):
    job = toy_job(tmp_path)
    process = multiprocessing.get_context("fork").Process(target=save_without_end, args=(job,))
    process.start()
    second = tmp_path / "stages/toy/checkpoint-0000008"
    while not (second.is_dir() and any(second.iterdir())):
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (second / "meta.json").exists()
    newest = newest_checkpoint(job.folder, job.digest, 12)
    assert newest.step == 4 and load_state(newest)["weight"].unique().tolist() == [4.0]
