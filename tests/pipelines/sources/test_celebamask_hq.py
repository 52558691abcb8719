"""CelebAMask-HQ: parts, label maps, mapping, splits."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_releases import write_celeba, write_celebamask_hq

from facefill.errors import UserError
from facefill.face_parsing import BACKGROUND, CELEBAMASK_PARTS, FACE, OCCLUDER
from facefill.samples import decode_sample
from pipelines.align import prepare
from pipelines.sources.celebamask_hq import list_records, split_of
from pipelines.sources.lists import read_mapping
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


def demo_release(realdata, root, parts: bool):
    """The genuine demo pictures in the release's folders, with single maps or with these cut into parts."""
    demo = realdata / "celebamask_hq/maskgan_demo"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    (root / "CelebAMask-HQ-mask").mkdir()
    (root / "CelebAMask-HQ-mask-anno/0").mkdir(parents=True)
    shutil.copy(realdata / "celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt", root)
    for number in (0, 1):
        shutil.copy(demo / f"{number}.jpg", root / "CelebA-HQ-img")
        if not parts:
            shutil.copy(demo / f"{number}.png", root / "CelebAMask-HQ-mask")
            continue
        labels = np.array(Image.open(demo / f"{number}.png"))
        for label, part in enumerate(CELEBAMASK_PARTS):
            mask = labels == label
            if label and mask.any():
                path = root / f"CelebAMask-HQ-mask-anno/0/{number:05d}_{part}.png"
                Image.fromarray(np.repeat(mask[..., None], 3, -1).astype(np.uint8) * 255).save(path)
    return root


def test_genuine_demo_pictures_as_single_maps_and_as_parts(realdata, tmp_path):
    whole = list_records(str(demo_release(realdata, tmp_path / "maps", parts=False)), DEFAULT)
    cut = list_records(str(demo_release(realdata, tmp_path / "parts", parts=True)), DEFAULT)
    assert [record.split for record in whole.records] == ["train", "train"]
    for one, other in zip(whole.records, cut.records, strict=True):
        assert one.label_map and not one.parts and other.parts and not other.label_map
        parsing = one.load().parsing
        assert np.array_equal(parsing, other.load().parsing)
        assert 0.2 < (parsing == FACE).mean() < 0.5 and (parsing == OCCLUDER).mean() > 0.05
        sample = decode_sample(prepare(other).members)
        assert sample["image"].shape == (256, 256, 3) and sample["parsing"].shape == (256, 256)
        assert abs((sample["parsing"] == FACE).mean() - (parsing == FACE).mean()) < 0.01


def test_genuine_test_pictures_with_the_mapping_with_and_without_its_header(realdata, tmp_path):
    shutil.copytree(realdata / "celebamask_hq_sean/CelebA-HQ-img", tmp_path / "CelebA-HQ-img")
    rows = (realdata / "celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt").read_text().splitlines(True)
    found = []
    for text in ("".join(rows), "".join(rows[1:])):
        (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text(text)
        listing = list_records(str(tmp_path), DEFAULT)
        found.append([(record.key, record.split) for record in listing.records])
    assert found[0] == found[1] and len(found[0]) == 25
    splits = {int(row.split()[0]): int(row.split()[2].split(".")[0]) for row in rows[1:]}
    for key, split in found[0]:
        number = splits[int(key.split("/")[1])]
        assert split == ("test" if number >= 182638 else "validation" if number >= 162771 else "train")


def test_the_official_split_has_its_known_sizes(realdata):
    """24,183, 2,993 and 2,824 pictures of the 30,000, through the mapping alone."""
    mapping = read_mapping(str(realdata / "celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt"))
    splits = [split_of(file, None, {}, DEFAULT) for file in mapping.values()]
    assert [splits.count(split) for split in ("train", "validation", "test")] == [24183, 2993, 2824]


def test_doubled_parts_and_misnamed_maps_end_the_command(tmp_path):
    root = write_celebamask_hq(tmp_path)
    anno = root / "CelebAMask-HQ-mask-anno"
    (anno / "1").mkdir()
    shutil.copy(anno / "0/00000_skin.png", anno / "1/00000_skin.PNG")
    with pytest.raises(UserError, match=r"00000_skin\.PNG: the same part as .*/0/00000_skin\.png"):
        list_records(str(root), DEFAULT)
    (anno / "1/00000_skin.PNG").unlink()
    (root / "CelebAMask-HQ-mask").mkdir()
    (root / "CelebAMask-HQ-mask/first.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"first\.png: expected a name like 0\.png"):
        list_records(str(root), DEFAULT)


def test_two_pictures_of_one_number_are_nobodys(tmp_path):
    root = write_celebamask_hq(tmp_path)
    shutil.copy(root / "CelebA-HQ-img/0.jpg", root / "CelebA-HQ-img/0.JPEG")
    listing = list_records(str(root), DEFAULT)
    assert [record.key for record in listing.records] == [f"celebamask_hq/{n}" for n in (1, 2, 3)]
    assert [r.key for r in listing.rejected] == ["celebamask_hq/0"] * 2


@pytest.mark.parametrize("name", ["CelebA-HQ-img/0.jpg", "CelebAMask-HQ-mask-anno/0/00000_skin.png"])
def test_a_file_that_is_there_and_cannot_be_had_is_named_and_not_left_out(tmp_path, name):
    root = write_celebamask_hq(tmp_path)
    record = list_records(str(root), SourceSettings("hq")).records[0]
    (root / name).unlink()
    (root / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}: not readable here \(Is a directory\); permit it or"):
        record.load()


def test_labels_that_claim_too_many_pixels_reject_the_picture(tmp_path, monkeypatch):
    root = write_celebamask_hq(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(RejectedSample, match=r"_.*png is not a PNG that can be read: .*exceeds limit"):
        list_records(str(root), SourceSettings("hq")).records[0].load()
