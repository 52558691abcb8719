"""Round trips of every stored field, and what a batch holds."""

import numpy as np
import pytest
import torch

from facefill import samples
from facefill.errors import UserError
from facefill.face_parsing import UNKNOWN


def smooth_picture(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows + columns], -1).astype(np.float64).__mod__(256).astype(np.uint8)


def full_sample() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "image": np.clip(smooth_picture(256, 256) // 2 + 20, 0, 255).astype(np.uint8),
        "landmarks": random.normal(size=(68, 2)).astype(np.float32),
        "parsing": random.integers(0, 3, (256, 256)).astype(np.uint8),
        "parameters": random.normal(size=samples.PARAMETERS_SIZE).astype(np.float32),
        "fit": random.normal(size=samples.FIT_SIZE).astype(np.float32),
        "uv_texture": np.full((192, 256, 3), 90, np.uint8),
        "uv_albedo": np.full((192, 256, 3), 120, np.uint8),
        "uv_visible": random.random((192, 256)) > 0.5,
    }


def test_every_field_survives_a_round_trip():
    sample = full_sample()
    assert set(sample) == {field.name for field in samples.FIELDS}
    decoded = samples.decode_sample(samples.encode_sample(sample))
    assert decoded.keys() == sample.keys()
    for name, value in sample.items():
        if name in ("image", "uv_texture", "uv_albedo"):
            assert np.abs(decoded[name].astype(int) - value.astype(int)).mean() < 1.5
        else:
            assert decoded[name].dtype == value.dtype
            assert (decoded[name] == value).all(), name


def test_bytes_are_kept_as_they_are():
    jpeg = samples.encode_jpeg(smooth_picture(256, 256))
    assert samples.encode_sample({"image": jpeg}) == {"image.jpg": jpeg}


def test_encoding_is_reproducible():
    assert samples.encode_sample(full_sample()) == samples.encode_sample(full_sample())


def test_only_the_wanted_fields_are_decoded():
    members = samples.encode_sample(full_sample())
    members["fit.npy"] = b"broken"
    assert set(samples.decode_sample(members, ["landmarks", "parsing"])) == {"landmarks", "parsing"}
    with pytest.raises(UserError, match=r"fit\.npy"):
        samples.decode_sample(members)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="depth"):
        samples.encode_sample({"depth": np.zeros((2, 2))})
    with pytest.raises(UserError, match="exr"):
        samples.decode_sample({"depth.exr": b""})


def test_pickled_arrays_are_refused():
    import io

    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match="landmarks"):
        samples.decode_sample({"landmarks.npy": stream.getvalue()})


def test_batch_shapes_and_ranges():
    sample = full_sample()
    batch = samples.collate([sample | {"key": "a/1", "seed": 2**62}, sample | {"key": "a/2", "seed": 5}])
    assert batch["key"] == ["a/1", "a/2"]
    assert batch["seed"].tolist() == [2**62, 5]
    assert batch["image"].shape == (2, 3, 256, 256) and batch["image"].dtype == torch.float32
    assert torch.equal(batch["image"][0, 1], torch.from_numpy(sample["image"][..., 1]).float() / 255)
    assert batch["landmarks"].shape == (2, 68, 2) and batch["five"].shape == (2, 5, 2)
    assert batch["parsing"].dtype == torch.int64 and batch["parsing"].max() == 2
    assert batch["uv_texture"].shape == batch["uv_albedo"].shape == (2, 3, 192, 256)
    assert batch["uv_visible"].shape == (2, 1, 192, 256)
    assert batch["fit"].shape == (2, 261) and batch["parameters"].shape == (2, 234)


def test_five_points_and_absent_labels():
    image = smooth_picture(256, 256)
    five = np.arange(10, dtype=np.float32).reshape(5, 2)
    batch = samples.collate([{"key": "k", "seed": 1, "image": image, "landmarks": five}])
    assert (batch["five"][0].numpy() == five).all()
    assert (batch["landmarks"][0, [30, 48, 54]].numpy() == five[2:]).all()
    assert batch["landmarks"].isnan().all(-1).sum() == 65
    assert (batch["parsing"] == UNKNOWN).all()
    assert "fit" not in batch and "parameters" not in batch


def test_a_fit_that_only_some_have_is_nan_in_the_others():
    sample = full_sample()
    without = {"image": sample["image"], "parsing": sample["parsing"]}
    fitted = {"image": sample["image"], "fit": sample["fit"]}
    batch = samples.collate([fitted | {"key": "a/1", "seed": 0}, without | {"key": "a/2", "seed": 0}])
    assert (batch["fit"][0].numpy() == sample["fit"]).all() and batch["fit"][1].isnan().all()
    assert (batch["parsing"][0] == UNKNOWN).all() and batch["parsing"][1].max() == 2


def test_a_field_that_only_some_have_is_refused_by_key():
    sample = full_sample()
    without = {name: value for name, value in sample.items() if name != "uv_albedo"}
    with pytest.raises(UserError, match="a/2 has no uv_albedo"):
        samples.collate([sample | {"key": "a/1", "seed": 0}, without | {"key": "a/2", "seed": 0}])
