"""A dataset's settings reach its reader, or are refused by name."""

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_releases import face_68, write_300w, write_celeba, write_celebamask_hq
from tiny_sources import write_csv, write_ffhq, write_multipie, write_photograph, write_texture

from facefill.errors import UserError
from pipelines import storage
from pipelines.config import DatasetConfig, RunConfig
from pipelines.config_file import config_from_tree
from pipelines.listing import check_dataset, list_dataset
from pipelines.sources.records import Listing
from pipelines.sources.table import SOURCES


def listed(tmp_path: Path, source: str, root: Path | str, **settings: object) -> Listing:
    config = RunConfig(name="x", output=str(tmp_path / "run"))
    return list_dataset(config, DatasetConfig(name="faces", source=source, root=str(root), **settings))


@pytest.fixture
def guessed(tmp_path: Path) -> str:
    """68 points for two pictures of CelebAMask-HQ, those of the second guessed."""
    names = ",".join(f"{axis}{point}" for point in range(68) for axis in "xy")
    values = ",".join(["500"] * 136)
    path = tmp_path / "points.csv"
    path.write_text(f"image_id,detected,{names}\n0.jpg,1,{values}\n1.jpg,0,{values}\n")
    return str(path)


@pytest.mark.parametrize(("undetected", "count"), [("reject", 1), ("keep", 2)])
def test_undetected_reaches_celebamask_hq(tmp_path, guessed, undetected, count):
    root = write_celebamask_hq(tmp_path / "hq")
    listing = listed(tmp_path, "celebamask_hq", root, landmarks=guessed, undetected=undetected)
    assert len(listing.records) == count


def test_celebas_folder_reaches_celebamask_hq(tmp_path):
    root, celeba = write_celebamask_hq(tmp_path / "hq"), write_celeba(tmp_path / "celeba", count=8)
    listing = listed(tmp_path, "celebamask_hq", root, celeba=str(celeba), split="identity", held_out=0.0)
    assert {record.split for record in listing.records} == {"train"} and listing.records[0].identity > 0


def test_a_named_celeba_folder_goes_before_the_rendered_one(tmp_path):
    write_celebamask_hq(tmp_path / "run/raw/celebamask_hq")
    celeba = write_celeba(tmp_path / "celeba", count=8)
    listing = listed(tmp_path, "celebamask_hq", "", celeba=str(celeba))
    assert [record.identity for record in listing.records] == [102, 103]


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (
            "three_hundred_w",
            {"split": "identity"},
            "dataset faces: split: identity is not for three_hundred_w, only for celeba, ",
        ),
        ("three_hundred_w", {"landmarks": "a.csv"}, "dataset faces: landmarks is not for three_hundred_w"),
        ("three_hundred_w", {"undetected": "keep"}, "dataset faces: undetected is not for three_hundred_w"),
        (
            "three_hundred_w",
            {"celeba": "/x"},
            "dataset faces: celeba is not for .*, only for celebamask_hq; leave it out",
        ),
        (
            "celeba_aligned",
            {"celeba": "/x"},
            "dataset faces: celeba is not for .*, only for celebamask_hq; leave it out",
        ),
    ],
)
def test_a_setting_without_a_use_is_refused_by_name(tmp_path, source, settings, message):
    root = (
        write_300w(tmp_path / "data") if source == "three_hundred_w" else write_celeba(tmp_path / "data", 2)
    )
    assert listed(tmp_path, source, root).records
    with pytest.raises(UserError, match=message):
        listed(tmp_path, source, root, **settings)


NOT_THERE = {
    "celeba": "Anno/list_landmarks_celeba.txt",
    "celeba_aligned": "Img/img_align_celeba",
    "ffhq": "images1024x1024",
    "three_hundred_w": "AFW",
}


RELEASES = {
    "celeba": lambda root: write_celeba(root, count=2),
    "celeba_aligned": lambda root: write_celeba(root, count=2),
    "celebamask_hq": lambda root: write_celebamask_hq(root, count=2),
    "three_hundred_w": lambda root: write_300w(root, ("AFW_1_1_0", "AFW_2_1_0")),
    "multipie": lambda root: write_multipie(root, ("001_01_02_051_09", "002_01_01_080_00")),
    "multipie_pose": lambda root: write_multipie(root, ("001_01_01_051_07", "001_01_01_080_07")),
    "multipie_illumination": lambda root: write_multipie(root, ("001_01_01_051_00", "001_01_01_051_01")),
    "ffhq": lambda root: write_ffhq(root, (0, 1), size=1024),
    "ffhq_thumbnails": lambda root: write_ffhq(root, (0, 1)),
    "folder": lambda root: [write_photograph(root / name) for name in ("a.jpg", "b.jpg")],
    "uv_textures": lambda root: [write_texture(root / name) for name in ("a.png", "b.png")],
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_one_line_of_the_table(tmp_path, source):
    RELEASES[source](tmp_path / "data")
    listing = listed(tmp_path, source, tmp_path / "data", fit=SOURCES[source].photographs)
    assert listing.dataset == "faces" and len(listing.records) == 2 and not listing.rejected
    for record in listing.records:
        assert record.key.startswith("faces/") and record.split in ("train", "validation", "test")
        assert record.load().picture and pickle.loads(pickle.dumps(record)) == record
    limit = listed(tmp_path, source, tmp_path / "data", fit=SOURCES[source].photographs, limit=1)
    assert len(limit.records) == 1


@pytest.mark.parametrize("source", [name for name, source in SOURCES.items() if "landmarks" in source.uses])
def test_a_csv_of_landmarks_reaches_every_source_that_takes_one(tmp_path, source):
    RELEASES[source](tmp_path / "data")
    record = listed(tmp_path, source, tmp_path / "data").records[0]
    folders = ("img_celeba", "img_align_celeba", "CelebA-HQ-img", "images1024x1024", "thumbnails128x128")
    name = re.sub(rf".*/({'|'.join(folders)}|data(?=/(data|[ab]\.jpg)))/", "", record.source)
    points = face_68((33, 44), 11)
    write_csv(tmp_path / "data/points.csv", {name: (points, 1)})
    listing = listed(tmp_path, source, tmp_path / "data", landmarks="points.csv")
    assert [kept.key for kept in listing.records] == [record.key]
    assert np.allclose(listing.records[0].load().landmarks, points)
    assert [r.reason for r in listing.rejected] == ["no row in points.csv"]


def check(tmp_path: Path, source: str, **settings: object) -> None:
    dataset = DatasetConfig(
        name="faces", source=source, root=str(tmp_path / "data"), fit=SOURCES[source].photographs
    )
    check_dataset(RunConfig(name="x", output=str(tmp_path / "run")), replace(dataset, **settings))


@pytest.mark.parametrize("source", SOURCES)
def test_a_check_finds_what_is_not_there_without_a_listing(tmp_path, source, monkeypatch):
    RELEASES[source](tmp_path / "data")
    monkeypatch.setattr(storage, "list_files", None)
    check(tmp_path, source)
    with pytest.raises(UserError, match=r"dataset faces: root: .*/absent is not there; correct the path"):
        check(tmp_path, source, root=str(tmp_path / "absent"))
    if source in NOT_THERE:
        (tmp_path / "data" / NOT_THERE[source]).rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=f"not found; expected .*{storage.name_of(NOT_THERE[source])}"):
            check(tmp_path, source)


def test_a_check_knows_the_lists_that_the_settings_name(tmp_path, monkeypatch):
    RELEASES["celeba"](tmp_path / "data")
    with pytest.raises(UserError, match=r"dataset faces: landmarks: .*data/points\.csv is not there"):
        check(tmp_path, "celeba", landmarks="points.csv")
    (tmp_path / "data/Anno/identity_CelebA.txt").unlink()
    with pytest.raises(UserError, match="the identities not found"):
        check(tmp_path, "celeba", split="identity")
    check(tmp_path, "celeba", root="", landmarks="points.csv")  # it will be rendered
    RELEASES["celebamask_hq"](tmp_path / "hq")
    for celeba, message in ((str(tmp_path / "data"), "the identities not found"), ("", "give CelebA's own")):
        with pytest.raises(UserError, match=message):
            check(tmp_path, "celebamask_hq", root=str(tmp_path / "hq"), celeba=celeba, split="identity")
    monkeypatch.setenv("FACEFILL_FACE_LANDMARKER", str(tmp_path / "absent.task"))
    with pytest.raises(UserError, match=r"cannot be detected here|no such file"):
        check(tmp_path, "celeba", detect=True)


def test_textures_are_not_fitted(tmp_path):
    write_texture(tmp_path / "data/a.png")
    with pytest.raises(
        UserError, match="uv_textures has no photographs that could be fitted; set fit: false"
    ):
        listed(tmp_path, "uv_textures", tmp_path / "data")
    with pytest.raises(UserError, match="uv_textures has no photographs to find faces in; set detect: false"):
        listed(tmp_path, "uv_textures", tmp_path / "data", fit=False, detect=True)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"source": "celebs", "root": "/x"}, r"datasets\.0\.source is 'celebs'; expected one of celeba, "),
        ({"source": "folder"}, "datasets: faces has no root; set its folder or URL"),
        ({"source": "celeba"}, "faces has no root and synthesis.celeba is 0"),
    ],
)
def test_a_config_with_an_unknown_source_or_without_its_root_is_refused(dataset, message):
    tree = {"name": "x", "output": "/tmp/x", "datasets": [{"name": "faces", **dataset}]}
    with pytest.raises(UserError, match=message):
        config_from_tree(tree, "x.yaml")
