"""The chain with a model that is not the default one, from raw pictures to a completed photograph."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from facefill.errors import UserError
from facefill.geometry.morphable_model import checksum, save_model
from facefill.stages import alone
from pipelines.cli import main
from pipelines.config import ModelConfig
from pipelines.config_file import load_config
from pipelines.fit import fit_dataset
from pipelines.fit_sheet import write_fit_sheet
from pipelines.run_model import default_run_model, publish_model
from pipelines.shards import shard_dataset
from pipelines.sources.records import SourceSettings
from pipelines.sources.three_hundred_w import list_records
from pipelines.stage_builder import build, open_loader
from pipelines.tables import read_table
from pipelines.training import job_of
from tests.support.other_model import IDENTITIES, other_model, write_drawn_300w
from tests.support.tiny_run import tiny_tree

COUNT = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """The config of a run that was walked with the other model up to the inpainter."""
    folder = tmp_path_factory.mktemp("other")
    save_model(other_model(), folder / "mine.npz")
    write_drawn_300w(folder / "raw", COUNT)
    tree = tiny_tree(str(folder / "run"), workers=0)
    drawn = {"name": "drawn", "source": "three_hundred_w", "root": str(folder / "raw"), "held_out": 0.3}
    tree["datasets"] = [drawn | {"ground_truth": "ict-like"}]
    tree["stages"] = {stage: tree["stages"][stage] for stage in ("morphable", "inpaint")}
    for stage in tree["stages"].values():
        stage["training"]["data"] = ["drawn"]
    tree |= {"model": {"kind": "saved", "path": str(folder / "mine.npz")}}
    tree |= {"synthesis": {}, "sweep": {}, "evaluate": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    assert main(["run", str(folder / "config.yaml")]) == 0
    (folder / "mine.npz").rename(folder / "elsewhere.npz")  # what follows needs the run's folder alone
    return folder / "config.yaml"


def fits_of(config: Path) -> list[dict[str, Any]]:
    tables = sorted((config.parent / "run" / "fits" / "drawn").glob("*.parquet"))
    rows = [row for path in tables for row in read_table(str(path))]
    return [row for row in rows if not row["reason"]]


def test_every_step_used_the_model_and_says_so(config: Path) -> None:
    run, identity = config.parent / "run", checksum(other_model())
    assert [path.name for path in (run / "model").iterdir()] == [f"{identity[:16]}.npz"]
    assert cv2.imread(str(run / "fits" / "drawn.jpg")).shape[1] == 4 * 256 + 3 * 4
    assert json.loads((run / "uv" / "drawn" / "config.json").read_text())["model"] == identity
    for stage in ("morphable", "inpaint"):
        card = json.loads((run / "weights" / stage / "card.json").read_text())
        assert card["model"] == {"kind": "saved", "name": "ict-like", "checksum": identity}


def test_stored_parameters_of_the_model_are_its_fits(config: Path, tmp_path: Path) -> None:
    true = write_drawn_300w(tmp_path / "again", COUNT)
    fits = {row["key"]: np.array(row["fit"]) for row in fits_of(config)}
    assert len(fits) == COUNT
    for face in range(COUNT):
        fit = fits[f"drawn/AFW_{face:03d}"]
        assert np.allclose(fit[:IDENTITIES], true.identity[face, :IDENTITIES], atol=1e-4)
        assert (fit[IDENTITIES:199] == 0).all(), "the model has no such components"
        assert np.allclose(fit[199:228], true.expression[face], atol=1e-4)
    assert max(row["landmark_px"] for row in fits_of(config)) < 0.1


def test_its_weights_complete_a_photograph_and_need_their_own_model(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config.parent / "run"
    photo = config.parent / "raw" / "AFW" / "000.jpg"
    mask = np.zeros((256, 256), np.uint8)
    mask[110:150, 90:130] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)

    def complete(out: str, *more: str) -> int:
        files = [str(photo), "--mask", str(tmp_path / "mask.png"), "--out", str(tmp_path / out)]
        return main(["complete", *files, *more])

    assert complete("found", "--weights", str(run / "weights")) == 0
    (run / "weights").rename(tmp_path / "copied")
    try:
        assert complete("lost", "--weights", str(tmp_path / "copied")) == 2
        printed = capsys.readouterr().err
        assert "trained with morphable model ict-like" in printed and "give it with --model" in printed
        given = str(config.parent / "elsewhere.npz")
        assert complete("given", "--weights", str(tmp_path / "copied"), "--model", given) == 0
    finally:
        (tmp_path / "copied").rename(run / "weights")
    found, as_given = ((tmp_path / out / "completed.png").read_bytes() for out in ("found", "given"))
    assert found == as_given and not (tmp_path / "lost").exists()


def test_data_and_networks_of_another_model_are_refused_by_both_names(config: Path) -> None:
    default = default_run_model()
    job = job_of(load_config(str(config), []), "inpaint", default, "0" * 64)
    names = rf"with morphable model ict-like \(.*this run's is facefill-head-cc0 \({default.checksum[:12]}"
    with pytest.raises(UserError, match=f"uv/drawn: projected {names}"):
        open_loader(job, "train", 0, 1)
    with pytest.raises(UserError, match=f"weights/morphable: trained {names}"):
        build(job, torch.device("cpu"), alone)


def test_another_model_is_refused_where_stages_are_trained_and_fitted_anew_where_not(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = [f"model.path={config.parent / 'elsewhere.npz'}"]
    assert main(["fit", str(config), *moved]) == 0
    assert "fit drawn: valid, skipped" in capfd.readouterr().err, "the same model from another place"

    default = ["model.kind=default", "model.path="]
    assert main(["run", str(config), *default]) == 2
    refused = capfd.readouterr().err
    assert "another configuration (morphable_model was ict-like" in refused and "facefill-head-cc0" in refused

    sheet = config.parent / "run" / "fits" / "drawn.jpg"
    before = sheet.read_bytes()
    assert main(["fit", str(config), *default]) == 0
    said = capfd.readouterr().err
    assert "stored parameters of ict-like left aside for facefill-head-cc0" in said
    assert all(row["fit"][150] != 0 for row in fits_of(config)) and sheet.read_bytes() != before


def test_genuine_photographs_are_fitted_with_the_ict_model(realdata: Path, tmp_path: Path) -> None:
    pack = realdata / "ict_facekit" / "ict_face_area_9409.npz"
    model = publish_model(ModelConfig(kind="ict", path=str(pack)), str(tmp_path))
    listing = list_records(str(realdata / "aflw2000_3d"), SourceSettings("aflw"))
    two = replace(listing, records=listing.records[:2])
    shards, fits = str(tmp_path / "shards"), str(tmp_path / "fits")
    shard_dataset(two, shards, samples_per_shard=2, config={}, workers=0)
    outcome = fit_dataset(shards, fits, "bfm2009", model=model, workers=0)
    assert outcome["fits"] == 2 and outcome["landmark_px"] < 4, outcome["summary"]
    assert "stored parameters of bfm2009 left aside for ict-facekit" in outcome["summary"]
    sheet = write_fit_sheet(shards, fits, model, workers=0)
    assert sheet is not None and cv2.imread(sheet).shape[0] > 2 * 256
