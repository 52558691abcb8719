"""The run's model: published whole, found by workers, refused when it is another one."""

import dataclasses

import pytest
import torch

from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import checksum, save_model
from pipelines import storage
from pipelines.config import ModelConfig
from pipelines.run_model import RunModel, default_run_model, load_run_model, publish_model, published
from tests.support.small_model import small_model_and_atlas


def test_a_saved_model_is_published_under_its_checksum_and_loaded_from_there(tmp_path):
    model, _ = small_model_and_atlas()
    save_model(model, tmp_path / "mine.npz")
    config = ModelConfig(kind="saved", path=str(tmp_path / "mine.npz"))
    run_model = publish_model(config, str(tmp_path / "run"))
    assert run_model == RunModel("saved", "small", checksum(model), run_model.url)
    assert run_model.url == str(tmp_path / "run" / "model" / f"{checksum(model)[:16]}.npz")
    (tmp_path / "mine.npz").unlink()  # other machines never had it
    loaded = load_run_model(run_model)
    assert torch.equal(loaded.mean, model.mean) and load_run_model(run_model) is loaded
    assert run_model.card() == {"kind": "saved", "name": "small", "checksum": checksum(model)}


@pytest.mark.parametrize("opened_anyhow", [False, True])
def test_a_model_that_cannot_be_used_is_not_published(opened_anyhow, monkeypatch, tmp_path):
    model, _ = small_model_and_atlas()
    broken = dataclasses.replace(model, triangles=model.triangles + 9999)
    save_model(broken, tmp_path / "mine.npz")
    if opened_anyhow:  # as a reader of other files may do
        monkeypatch.setattr("facefill.geometry.face_models.open_model", lambda *_: broken)
    with pytest.raises(
        UserError, match=r"mine\.npz is not a usable face model: triangles holds vertex numbers"
    ):
        publish_model(ModelConfig(kind="saved", path=str(tmp_path / "mine.npz")), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_is_published_already_is_left_alone(tmp_path):
    model, _ = small_model_and_atlas()
    url = published(model, "saved", str(tmp_path)).url
    before = (tmp_path / "model").stat().st_mtime_ns
    assert published(model, "saved", str(tmp_path)).url == url
    assert (tmp_path / "model").stat().st_mtime_ns == before


def test_a_model_on_an_object_store_serves_as_well(monkeypatch, tmp_path):
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path))
    model, _ = small_model_and_atlas()
    run_model = published(model, "saved", "memory://run_model")
    assert run_model.url.startswith("memory://run_model/model/")
    assert checksum(load_run_model(run_model)) == run_model.checksum
    again = publish_model(ModelConfig(kind="saved", path=run_model.url), "memory://elsewhere")
    assert again.checksum == run_model.checksum and storage.exists(again.url)


def test_the_default_model_needs_no_file_and_says_when_it_differs(tmp_path):
    run_model = publish_model(ModelConfig(), str(tmp_path))
    assert run_model == default_run_model() and run_model.url == ""
    assert load_run_model(run_model) is default_model()
    other = dataclasses.replace(run_model, checksum="f" * 64)
    with pytest.raises(UserError, match=r"default model of this machine is .*, the run's is .*\(ffff"):
        load_run_model(other)


def test_a_model_that_is_absent_or_another_is_named(tmp_path):
    model, _ = small_model_and_atlas()
    run_model = published(model, "saved", str(tmp_path))
    with pytest.raises(UserError, match=r"nowhere\.npz: the run's model small .* is not there"):
        load_run_model(dataclasses.replace(run_model, url=str(tmp_path / "nowhere.npz")))
    save_model(dataclasses.replace(model, name="another"), tmp_path / "another.npz")
    with pytest.raises(UserError, match=r"is not small \(.*but another \("):
        load_run_model(dataclasses.replace(run_model, url=str(tmp_path / "another.npz")))


def test_coefficients_belong_to_a_model_by_its_name_or_the_beginning_of_it():
    run_model = RunModel("bfm2009", "bfm2009-3ddfa", "0" * 64)
    assert run_model.owns("bfm2009") and run_model.owns("bfm2009-3ddfa")
    assert not run_model.owns("bfm") and not run_model.owns("ict-facekit")
