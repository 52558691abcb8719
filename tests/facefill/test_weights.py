"""Published weights: read back as they were, refused when they are not."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.networks.encoder import Encoder
from facefill.weights import decode_weights, encode_weights, load_completer
from pipelines.checkpoints import publish_weights, read_weights
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


def test_an_encoder_of_before_is_read_as_what_it_is(folder: Path) -> None:
    """Its card knows no `located`; its weights tell that it pools as the paper does."""
    card = json.loads((folder / "morphable" / "card.json").read_text())
    pooled = Encoder(card["config"]["width"], located=False)
    card["config"].pop("located", None)
    publish_weights(str(folder / "morphable"), {"encoder": pooled.state_dict()}, card)
    read = load_completer(folder, default_model()).encoder
    image = torch.rand(1, 3, 224, 224)
    assert torch.equal(read(image).identity, pooled.eval()(image).identity)


def mark_of(folder: Path) -> float:
    """A number that tells the weights of one encoder from those of another."""
    encoder = load_completer(folder, default_model()).encoder
    return float(sum(parameter.abs().sum() for parameter in encoder.parameters()))


def test_the_encoder_is_the_one_that_the_inpainter_was_trained_on(folder: Path) -> None:
    trained_on = mark_of(folder)
    # A fine-tuned encoder that an earlier run left behind.
    shutil.copytree(folder / "morphable", folder / "morphable_finetune")
    states = read_weights(str(folder / "morphable"))
    doubled = {name: value * 2 for name, value in states["encoder"].items()}
    stale_card = json.loads((folder / "morphable_finetune" / "card.json").read_text())
    publish_weights(str(folder / "morphable_finetune"), {"encoder": doubled}, stale_card)
    assert mark_of(folder) == trained_on

    card_path = folder / "inpaint" / "card.json"
    card = json.loads(card_path.read_text())
    card_path.write_text(json.dumps(card | {"parents": {"morphable_finetune": "s3://elsewhere"}}))
    finetuned = mark_of(folder)
    assert finetuned != trained_on
    del card["parents"]
    card_path.write_text(json.dumps(card))
    assert mark_of(folder) == finetuned
    shutil.rmtree(folder / "morphable_finetune")
    assert mark_of(folder) == trained_on


def test_an_encoder_that_the_inpainter_needs_is_not_replaced_by_another(folder: Path) -> None:
    (folder / "morphable").rename(folder / "morphable_finetune")
    with pytest.raises(UserError, match=r"morphable: no card\.json"):
        load_completer(folder, default_model())


@pytest.mark.parametrize(
    "wrong",
    [
        {"config": {}},
        {"config": {"width": "wide"}},
        {"config": {"width": -1}},
        {"config": None},
        {"model": {"name": "other"}},
        {"model": "other"},
        {"networks": {}},
        {"networks": ["inpainter"]},
        {"networks": {"inpainter": 3}},
    ],
)
def test_cards_that_lack_something_are_mistakes_of_one_line(folder: Path, wrong: dict[str, Any]) -> None:
    card = folder / "inpaint" / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | wrong))
    with pytest.raises(UserError, match=r"weights .*inpaint.*card\.json") as raised:
        load_completer(folder, default_model())
    assert "\n" not in str(raised.value)


def test_without_safetensors_the_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(UserError, match="pip install safetensors"):
        load_completer(folder, default_model())


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


def test_a_segmenter_serves_every_model(folder: Path) -> None:
    card = folder / "segment" / "card.json"
    other = {"kind": "ict", "name": "ict-facekit", "checksum": "0" * 64}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"model": other}))
    assert load_completer(folder, default_model()).segmenter is not None
