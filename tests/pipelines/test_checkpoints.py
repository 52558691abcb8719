"""Checkpoints and published weights: whole or absent, never half."""

import json

import pytest
import torch

from facefill.errors import UserError
from pipelines.checkpoints import (
    list_checkpoints,
    load_state,
    newest_checkpoint,
    publish_weights,
    read_weights,
    save_checkpoint,
)


def save(folder, step, digest="d"):
    return save_checkpoint(
        str(folder), "toy", step, digest, 2, {"step": step, "weight": torch.arange(4.0) + step}
    )


def test_the_newest_two_are_kept_and_the_newest_is_taken(tmp_path):
    for step in (5, 10, 15):
        save(tmp_path, step)
    assert [checkpoint.step for checkpoint in list_checkpoints(str(tmp_path))] == [10, 15]
    newest = newest_checkpoint(str(tmp_path), "d", 100)
    assert newest.world_size == 2 and torch.equal(load_state(newest)["weight"], torch.arange(4.0) + 15)


def test_none_where_there_is_nothing(tmp_path):
    assert newest_checkpoint(str(tmp_path / "absent"), "d", 100) is None


def test_a_half_written_one_is_none(tmp_path):
    save(tmp_path, 5), save(tmp_path, 10)
    (tmp_path / "checkpoint-0000010/meta.json").unlink()
    assert newest_checkpoint(str(tmp_path), "d", 100).step == 5
    state = tmp_path / "checkpoint-0000005/state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    assert newest_checkpoint(str(tmp_path), "d", 100) is None
    state.unlink()
    assert newest_checkpoint(str(tmp_path), "d", 100) is None


def test_a_step_may_be_saved_again(tmp_path):
    save(tmp_path, 5), save(tmp_path, 5)
    assert newest_checkpoint(str(tmp_path), "d", 100).step == 5


def test_another_configuration_is_refused_by_name(tmp_path):
    save(tmp_path, 5, digest="other")
    with pytest.raises(UserError, match=rf"{tmp_path} holds a checkpoint of another configuration"):
        newest_checkpoint(str(tmp_path), "d", 100)


def test_weights_come_back_as_they_were(tmp_path):
    networks = {
        "encoder": {"weight": torch.rand(3, 4), "steps": torch.tensor(7)},
        "decoder": {"bias": torch.rand(2)},
    }
    urls = publish_weights(str(tmp_path), networks, {"stage": "toy", "config": {"width": 0.5}})
    assert urls["encoder"] == f"{tmp_path}/encoder.safetensors"
    read = read_weights(str(tmp_path))
    assert (
        torch.equal(read["encoder"]["weight"], networks["encoder"]["weight"])
        and read["encoder"]["steps"] == 7
    )
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["config"] == {"width": 0.5} and set(card["networks"]) == {"encoder", "decoder"}


def test_damaged_or_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="train that stage first"):
        read_weights(str(tmp_path))
    publish_weights(str(tmp_path), {"encoder": {"weight": torch.rand(3)}}, {})
    (tmp_path / "encoder.safetensors").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"encoder\.safetensors is not the file"):
        read_weights(str(tmp_path))
