"""Synthesized data sets: the readers take them for the releases; the bytes do not depend on the making."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("numba")

from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER
from facefill.photographs import decode_photograph
from pipelines import synthesize
from pipelines.sources import celeba, celebamask_hq, three_hundred_w
from pipelines.sources.records import SourceSettings
from pipelines.synthesize import Counts, write_datasets

COUNTS = Counts(seed=3, celeba=6, three_hundred_w=4, celebamask_hq=2, pictures_per_identity=2)


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    outcome = write_datasets(str(folder), COUNTS, workers=0)
    assert outcome["samples"] == 12
    return folder


def truth_of(raw: Path, path: str) -> dict[str, np.ndarray]:
    with np.load(raw / "truth" / path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def test_celeba_in_both_variants(raw: Path) -> None:
    wild = celeba.list_records(str(raw / "celeba"), SourceSettings("celeba"))
    aligned = celeba.list_records(str(raw / "celeba"), SourceSettings("celeba"), "aligned")
    assert len(wild.records) == len(aligned.records) == 6 and not wild.rejected and not wild.notes
    assert {record.split for record in wild.records} == {"train", "validation", "test"}
    assert len({record.identity for record in wild.records}) == 3
    for listing, folder in ((wild, "img_celeba"), (aligned, "img_align_celeba")):
        for record in listing.records[:3]:
            sample = record.load()
            assert sample.landmarks is not None and sample.landmarks.shape == (5, 2)
            truth = truth_of(raw, f"celeba/{folder}/{Path(record.source).stem}.npz")
            assert np.abs(sample.landmarks[2] - truth["landmarks"][30]).max() <= 0.5
            picture = decode_photograph(sample.picture, record.source)
            if folder == "img_align_celeba":
                assert picture.shape == (218, 178, 3)
                assert np.abs(sample.landmarks[0] - [69.5, 111]).max() < 8


def test_celeba_with_detected_landmarks(raw: Path) -> None:
    settings = SourceSettings("celeba", landmarks=str(raw / "celeba" / "landmarks68.csv"))
    listing = celeba.list_records(str(raw / "celeba"), settings)
    assert len(listing.records) == 6
    record = listing.records[0]
    points = record.load().landmarks
    truth = truth_of(raw, f"celeba/img_celeba/{Path(record.source).stem}.npz")
    assert points is not None and points.shape == (68, 2)
    assert np.abs(points[17:] - truth["landmarks"][17:]).max() < 0.01


def test_three_hundred_w(raw: Path) -> None:
    listing = three_hundred_w.list_records(str(raw / "three_hundred_w"), SourceSettings("300w_3d"))
    assert len(listing.records) == 4 and not listing.rejected
    assert "absent" not in listing.notes[0]
    for record in listing.records:
        sample = record.load()
        subset, stem = Path(record.source).parent.name, Path(record.source).stem
        truth = truth_of(raw, f"three_hundred_w/{subset}/{stem}.npz")
        assert sample.landmarks is not None and sample.parameters is not None
        assert np.abs(sample.landmarks - truth["landmarks"]).max() < 1e-3
        assert np.allclose(sample.parameters[-6:], truth["fit"][228:234], rtol=1e-5, atol=1e-4)
        assert decode_photograph(sample.picture, stem).shape == (450, 450, 3)


def test_celebamask_hq(raw: Path) -> None:
    settings = SourceSettings("celebamask_hq", celeba=str(raw / "celeba"))
    listing = celebamask_hq.list_records(str(raw / "celebamask_hq"), settings)
    assert len(listing.records) == 2 and not listing.notes
    for record in listing.records:
        sample = record.load()
        assert sample.aligned and sample.parsing is not None
        assert decode_photograph(sample.picture, record.source).shape == (1024, 1024, 3)
        assert sample.parsing.shape == (512, 512)
        shares = [(sample.parsing == kind).mean() for kind in (FACE, OCCLUDER, BACKGROUND)]
        assert 0.12 < shares[0] < 0.6 and shares[2] > 0.1
        assert sample.parsing[256, 256] in (FACE, OCCLUDER), "the nose is in the middle"
        assert record.identity in {
            row.identity for row in celeba.list_records(str(raw / "celeba"), SourceSettings("celeba")).records
        }


def test_the_same_bytes_with_any_number_of_workers(raw: Path, tmp_path: Path, ray_session: None) -> None:
    write_datasets(str(tmp_path), COUNTS, workers=2)
    assert checksums(tmp_path) == checksums(raw)


def test_an_interrupted_job_goes_on(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has its record is not drawn again; the result is as from one go."""
    small = Counts(seed=3, celeba=0, three_hundred_w=4, celebamask_hq=0, pictures_per_identity=1)
    whole = write_datasets(str(tmp_path / "whole"), small, workers=0)
    drawn: list[int] = []
    write = synthesize._write_wild

    def stop_after_first(task: synthesize.Task) -> dict:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(task.first)
        return write(task)

    monkeypatch.setattr(synthesize, "_write_wild", stop_after_first)
    with pytest.raises(KeyboardInterrupt):
        write_datasets(str(tmp_path / "again"), small, workers=0)
    monkeypatch.setattr(synthesize, "_write_wild", lambda task: drawn.append(task.first) or write(task))
    assert write_datasets(str(tmp_path / "again"), small, workers=0) == whole
    assert drawn == [0, 3]
    assert checksums(tmp_path / "again") == checksums(tmp_path / "whole")


def test_other_counts_leave_nothing_of_the_old_ones(tmp_path: Path) -> None:
    first = Counts(seed=3, celeba=0, three_hundred_w=2, celebamask_hq=0, pictures_per_identity=1)
    second = Counts(seed=4, celeba=0, three_hundred_w=1, celebamask_hq=0, pictures_per_identity=1)
    write_datasets(str(tmp_path), first, workers=0)
    write_datasets(str(tmp_path), second, workers=0)
    assert len(list(tmp_path.rglob("*.jpg"))) == 1


def test_any_storage_will_do() -> None:
    from pipelines import storage

    counts = Counts(seed=3, celeba=0, three_hundred_w=1, celebamask_hq=0, pictures_per_identity=1)
    write_datasets("memory://synthesize-test", counts, workers=0)
    files = storage.list_files("memory://synthesize-test/three_hundred_w")
    assert [Path(file).suffix for file in files] == [".jpg", ".mat"]
    import scipy.io

    assert "pt2d" in scipy.io.loadmat(io.BytesIO(storage.read_bytes(files[1])))
    storage.remove("memory://synthesize-test")


def test_masks_alone_still_have_people_to_refer_to(tmp_path: Path) -> None:
    counts = Counts(seed=3, celeba=0, three_hundred_w=0, celebamask_hq=1, pictures_per_identity=1)
    write_datasets(str(tmp_path), counts, workers=0)
    settings = SourceSettings("celebamask_hq", celeba=str(tmp_path / "celeba"))
    assert len(celebamask_hq.list_records(str(tmp_path / "celebamask_hq"), settings).records) == 1
    assert not (tmp_path / "celeba" / "Img").exists()
