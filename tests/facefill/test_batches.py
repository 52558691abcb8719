"""Batches straight from bytes are those of decoded samples."""

import numpy as np
import pytest
import torch

from facefill.batches import decode_batch
from facefill.errors import UserError
from facefill.samples import (
    FIT_SIZE,
    collate,
    decode_arrays,
    decode_sample,
    encode_array,
    encode_jpeg,
    encode_sample,
    floats,
)


def stored(seed: int, points: int | None, *without: str) -> dict[str, bytes]:
    random = np.random.default_rng(seed)
    sample = {
        "image": np.full((256, 256, 3), random.integers(0, 256, 3), np.uint8),
        "parsing": random.integers(0, 3, (256, 256)).astype(np.uint8),
        "parameters": random.normal(size=234),
        "fit": random.normal(size=FIT_SIZE),
        "uv_texture": np.full((192, 256, 3), random.integers(0, 256, 3), np.uint8),
        "uv_albedo": np.full((192, 256, 3), 120, np.uint8),
        "uv_visible": random.random((192, 256)) > 0.5,
    }
    if points is not None:
        sample["landmarks"] = random.normal(size=(points, 2)).astype(np.float32)
    return encode_sample({name: value for name, value in sample.items() if name not in without})


@pytest.mark.parametrize(
    "members",
    [
        [stored(1, 68), stored(2, 5), stored(3, None, "parsing", "parameters"), stored(4, 68)],
        [stored(1, None, "uv_texture", "uv_albedo", "uv_visible", "fit", "parsing", "parameters")],
        [stored(1, 5, "image"), stored(2, 5, "image")],
        [stored(1, 68, "image"), stored(2, 68, "image")],
    ],
)
def test_equal_to_decoded_samples(members):
    keys, seeds = [f"a/{number}" for number in range(len(members))], list(range(len(members)))
    decoded = [
        decode_sample(sample) | {"key": key, "seed": seed}
        for sample, key, seed in zip(members, keys, seeds, strict=True)
    ]
    expected, batch = collate(decoded), floats(decode_batch(members, keys, seeds))
    assert batch.keys() == expected.keys() and batch["key"] == keys
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == batch[name].dtype, name
            assert torch.equal(value.nan_to_num(-9), batch[name].nan_to_num(-9)), name


def test_floats_change_nothing_a_second_time():
    batch = floats(decode_batch([stored(1, 68)], ["a"], [0]))
    again = floats(batch)
    assert all(torch.equal(again[name], batch[name]) for name in ("image", "parsing", "uv_visible"))


def test_turned_pictures_are_upright_wherever_they_stand():
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 3
    import io

    stream = io.BytesIO()
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[:128] = 200
    Image.fromarray(picture).save(stream, "JPEG", exif=exif, quality=95)
    members = [{"image.jpg": data} for data in (encode_jpeg(picture), stream.getvalue())]
    batch = decode_batch(members, ["a", "b"], [0, 1])
    assert batch["image"][0, :, :100].min() > 190 and batch["image"][0, :, 156:].max() < 10
    assert batch["image"][1, :, :100].max() < 10 and batch["image"][1, :, 156:].min() > 190


def test_arrays_are_read_together_where_they_are_alike():
    points = [np.random.default_rng(seed).normal(size=(68, 2)).astype(np.float32) for seed in (1, 2)]
    files = [encode_array(each) for each in points]
    together = decode_arrays(files)
    assert np.array_equal(together, points) and together.flags.writeable
    swapped = files[1].replace(b"'<f4'", b"'>f4'")
    broken = files[1].replace(b"'descr'", b"'nobody")
    for other in (files[1][:-1], files[1] + b"0", swapped, broken, encode_array(points[1][:5]), b""):
        assert decode_arrays([files[0], other]) is None
    assert decode_arrays([broken, broken]) is None and decode_arrays([b"", b""]) is None


def test_mistakes_name_the_sample():
    good = stored(1, 68)
    small = good | {"image.jpg": encode_jpeg(np.zeros((128, 128, 3), np.uint8))}
    large = good | {"image.jpg": encode_jpeg(np.zeros((512, 512, 3), np.uint8))}
    cut = good | {"image.jpg": good["image.jpg"][:-40]}
    pickled = good | {"landmarks.npy": b"broken"}
    for bad, message in [
        (small, r"a/2: member .image.jpg: 128x128 pixels, where 256x256 are expected"),
        (large, r"a/2: member .image.jpg: 512x512 pixels"),
        (cut, r"a/2: member .image.jpg: a truncated JPEG"),
        (pickled, r"a/2: member .landmarks.npy cannot be read"),
        (good | {"fit.npy": good["fit.npy"][:-4]}, r"a/2: member .fit.npy cannot be read"),
        (good | {"depth.exr": b""}, r"a/2: member .depth.exr: expected one of"),
    ]:
        with pytest.raises(UserError, match=message):
            decode_batch([good, bad], ["a/1", "a/2"], [0, 1])


def test_pictures_stand_in_the_given_memory():
    blocks = []

    def new_block(shape):
        blocks.append(np.zeros(shape, np.uint8))
        return blocks[-1]

    batch = decode_batch([stored(1, 68), stored(2, 68)], ["a", "b"], [0, 1], new_block)
    assert [block.shape for block in blocks] == [(2, 256, 256, 3), (2, 192, 256, 3), (2, 192, 256, 3)]
    blocks[0][1] = 77
    assert (batch["image"][1] == 77).all()


def test_a_batch_beyond_the_memory_is_named() -> None:
    def full(shape: tuple[int, ...]) -> np.ndarray:
        raise MemoryError

    with pytest.raises(UserError, match=r"a/7: member .image.jpg: a batch of .* 256 x 256 .* damaged"):
        decode_batch([stored(1, 68)], ["a/7"], [0], full)
