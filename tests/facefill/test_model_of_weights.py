"""The model of a weights folder: the default one, one beside it, a given one, or none."""

import json
from pathlib import Path
from typing import Any

import pytest

from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import checksum, save_model
from facefill.model_of_weights import model_of_weights, trained_on
from facefill.weights import load_completer
from tests.support.other_model import other_model
from tests.support.trained import publish_untrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return publish_untrained(tmp_path / "weights")


def name_model(folder: Path, model: dict[str, Any]) -> None:
    """Write it on the cards of the stages that have one."""
    for stage in ("morphable", "inpaint"):
        card = folder / stage / "card.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"model": model}))


def test_cards_that_name_the_default_model_need_nothing_else(folder: Path) -> None:
    assert trained_on(folder).kind == "default", "cards of older runs name no kind"
    assert model_of_weights(folder) is default_model()


def test_a_run_leaves_its_model_beside_the_weights(folder: Path) -> None:
    model = other_model()
    named = {"kind": "ict", "name": model.name, "checksum": checksum(model)}
    name_model(folder, named)
    with pytest.raises(UserError, match=r"trained with morphable model ict-like \(.*give it with --model"):
        model_of_weights(folder)
    path = folder.parent / "model" / f"{checksum(model)[:16]}.npz"
    path.parent.mkdir()
    save_model(model, path)
    assert checksum(model_of_weights(folder)) == checksum(model)
    assert load_completer(folder, model_of_weights(folder)).model.name == "ict-like"
    elsewhere = folder.parent / "mine.npz"
    path.rename(elsewhere)
    assert checksum(model_of_weights(folder, elsewhere)) == checksum(model)


def test_a_given_model_that_is_another_is_refused_by_both_names(folder: Path, tmp_path: Path) -> None:
    save_model(other_model(), tmp_path / "mine.npz")
    given = model_of_weights(folder, tmp_path / "mine.npz")
    with pytest.raises(UserError, match=r"morphable model facefill-head-cc0 .* not with ict-like"):
        load_completer(folder, given)
    (tmp_path / "page.npz").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.npz"):
        model_of_weights(folder, tmp_path / "page.npz")
