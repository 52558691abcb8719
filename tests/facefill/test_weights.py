"""Published weights: read back as they were, refused when they are not."""

import json
from pathlib import Path

import pytest
import torch

from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.weights import decode_weights, encode_weights, load_completer
from tests.support.trained import publish_untrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return publish_untrained(tmp_path / "weights")


def test_states_survive_the_file() -> None:
    state = {"a": torch.rand(3, 2).t(), "b": torch.tensor(4)}
    read = decode_weights(encode_weights(state))
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_a_completer_is_ready_to_answer_and_only_that(folder: Path) -> None:
    completer = load_completer(folder, default_model())
    assert completer.segmenter is not None
    assert not completer.encoder.training
    assert not any(p.requires_grad for p in completer.inpainter.parameters())


def test_fine_tuned_encoders_are_preferred(folder: Path) -> None:
    (folder / "morphable").rename(folder / "morphable_finetune")
    assert load_completer(folder, default_model()) is not None


def test_what_does_not_fit_is_named(folder: Path) -> None:
    model = default_model()
    card = folder / "inpaint" / "card.json"
    good = json.loads(card.read_text())

    with pytest.raises(UserError, match=r"weights .*nowhere.*no card\.json"):
        load_completer(folder / "nowhere", model)
    card.write_text(json.dumps(good | {"config": {"width": 0.25}}))
    with pytest.raises(UserError, match="do not fit the width"):
        load_completer(folder, model)
    card.write_text(json.dumps(good | {"model": {"name": "other", "checksum": "0" * 64}}))
    with pytest.raises(UserError, match="trained with morphable model other"):
        load_completer(folder, model)
    card.write_text("<html>")
    with pytest.raises(UserError, match="not a card"):
        load_completer(folder, model)
    card.write_text(json.dumps(good))
    file = folder / "inpaint" / "inpainter.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match="checksum differs"):
        load_completer(folder, model)
    file.unlink()
    with pytest.raises(UserError, match=r"inpainter\.safetensors: missing"):
        load_completer(folder, model)
