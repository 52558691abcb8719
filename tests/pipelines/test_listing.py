"""A dataset's settings reach its reader, or are refused by name."""

from pathlib import Path

import pytest
from tiny_releases import write_300w, write_celeba, write_celebamask_hq

from facefill.errors import UserError
from pipelines.config import DatasetConfig, RunConfig
from pipelines.listing import list_dataset
from pipelines.sources.records import Listing


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
