"""CelebAMask-HQ: parts, label maps, mapping, splits."""

import numpy as np
import pytest
from tiny_releases import write_celeba, write_celebamask_hq

from facefill.errors import UserError
from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER
from pipelines.sources.celebamask_hq import list_records
from pipelines.sources.records import RejectedSample, SourceSettings

DEFAULT = SourceSettings("celebamask_hq")


def test_generated_folder(tmp_path):
    listing = list_records(str(write_celebamask_hq(tmp_path)), DEFAULT)
    assert [r.key for r in listing.records] == [f"celebamask_hq/{n}" for n in range(4)]
    assert [r.split for r in listing.records] == ["train", "validation", "test", "train"]
    sample = listing.records[0].load()
    assert sample.aligned and sample.landmarks is None and sample.parsing.shape == (512, 512)
    assert sample.parsing[100, 200] == OCCLUDER and sample.parsing[140, 200] == OCCLUDER
    assert sample.parsing[300, 200] == FACE and sample.parsing[325, 200] == BACKGROUND


def test_genuine_label_map_and_mapping(realdata):
    listing = list_records(str(realdata / "celebamask_hq"), DEFAULT)
    assert [r.key for r in listing.records] == ["celebamask_hq/28297"]
    assert "2 pictures have labels but are not there" in listing.notes[0]
    parsing = listing.records[0].load().parsing
    assert parsing.shape == (512, 512) and set(np.unique(parsing)) == {FACE, OCCLUDER, BACKGROUND}
    assert 0.15 < (parsing == FACE).mean() < 0.5


def test_genuine_pictures_named_by_celeba_file(realdata):
    listing = list_records(str(realdata / "celeba_hq_stargan_v2"), DEFAULT)
    splits = {record.key.split("/")[1]: record.split for record in listing.records}
    assert len(splits) == 27
    assert splits["012712"] == "train" and splits["164930"] == "validation" and splits["189498"] == "test"
    assert "27 of 27 pictures have no labels" in listing.notes[0]


def test_a_missing_mapping_is_named(realdata, tmp_path):
    with pytest.raises(UserError, match=r"CelebA-HQ-to-CelebA-mapping\.txt: no such file"):
        list_records(str(realdata / "celebamask_hq_sean"), DEFAULT)
    with pytest.raises(UserError, match=r"no pictures found; expected CelebA-HQ-img/0\.jpg"):
        list_records(str(tmp_path), DEFAULT)


def test_partition_and_identity_come_from_celeba(tmp_path):
    root = write_celebamask_hq(tmp_path / "hq")
    celeba = write_celeba(tmp_path / "celeba", count=8)
    settings = SourceSettings("celebamask_hq", celeba=str(celeba))
    listing = list_records(str(root), settings)
    assert [(r.key[-1], r.split, r.identity) for r in listing.records] == [
        ("0", "validation", 102),
        ("3", "train", 103),
    ]
    assert [r.reason for r in listing.rejected] == [
        "170000.jpg has no row in list_eval_partition",
        "190000.jpg has no row in list_eval_partition",
    ]
    with pytest.raises(UserError, match="needs CelebA's identity_CelebA"):
        list_records(str(root), SourceSettings("celebamask_hq", split="identity"))


def test_pictures_without_row_or_with_damaged_labels(tmp_path):
    root = write_celebamask_hq(tmp_path)
    (root / "CelebA-HQ-img/3.jpg").rename(root / "CelebA-HQ-img/77.jpg")
    (root / "CelebAMask-HQ-mask-anno/0/00001_hair.png").write_bytes(b"not a png")
    listing = list_records(str(root), DEFAULT)
    assert [(r.key, r.reason) for r in listing.rejected] == [
        ("celebamask_hq/77", "no row in CelebA-HQ-to-CelebA-mapping.txt")
    ]
    with pytest.raises(RejectedSample, match=r"00001_hair\.png is not a PNG"):
        listing.records[1].load()


def test_unknown_part_is_refused_by_name(tmp_path):
    root = write_celebamask_hq(tmp_path)
    (root / "CelebAMask-HQ-mask-anno/0/00000_beard.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"00000_beard\.png.*one of the 18 parts"):
        list_records(str(root), DEFAULT)


def test_68_points_when_given(tmp_path):
    root = write_celebamask_hq(tmp_path)
    names = ",".join(f"{axis}{point}" for point in range(68) for axis in "xy")
    values = ",".join(["500"] * 136)
    csv = tmp_path / "points.csv"
    csv.write_text(f"image_id,detected,{names}\n0.jpg,1,{values}\n1.jpg,0,{values}\n")
    listing = list_records(str(root), SourceSettings("celebamask_hq", landmarks=str(csv)))
    assert [r.key for r in listing.records] == ["celebamask_hq/0"]
    assert listing.records[0].load().landmarks.shape == (68, 2)
    assert [r.reason for r in listing.rejected] == [
        "no face was detected (detected = 0 in points.csv)",
        *["no row in points.csv"] * 2,
    ]
