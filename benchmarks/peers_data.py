"""Readers of others over the same tars (webdataset, Ray Data, torch) and the loop that limits all.

Each is a function without arguments that goes once through the set and returns how many pictures it saw,
decoded to uint8, with their landmarks, in batches. Its workers stay from one call to the next.
"""

import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from facefill.samples import FIELD_BY_EXTENSION, Array
from pipelines import storage
from pipelines.manifest import Manifest
from pipelines.shard_reader import ShardReader

IMAGE, LANDMARKS = "image.jpg", "landmarks.npy"
BATCH = 32
Reader = Callable[[], int]


def decode_loop(pictures: Sequence[bytes], threads: int, into_one_place: bool) -> Reader:
    """Nothing but simplejpeg in threads, from bytes in memory; each thread's results go into one place."""
    import simplejpeg

    def decode(mine: Sequence[bytes]) -> int:
        place = np.empty((256, 256, 3), np.uint8) if into_one_place else None
        for picture in mine:
            simplejpeg.decode_jpeg(picture, "RGB", buffer=place)
        return len(mine)

    def run() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(decode, [pictures[start::threads] for start in range(threads)]))

    return run


def webdataset_reader(manifest: Manifest, decoder: str, workers: int) -> Reader:
    """webdataset in a WebLoader's processes; decoder: "pillow" (its own "rgb8") or "simplejpeg"."""
    import webdataset

    urls = [storage.join(manifest.folder, shard.url) for shard in manifest.shards]
    decode = "rgb8" if decoder == "pillow" else simplejpeg_by_extension
    data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
    data = data.decode(decode).to_tuple(IMAGE, LANDMARKS).batched(BATCH)
    loader = webdataset.WebLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    return lambda: sum(len(images) for images, _ in loader)


def simplejpeg_by_extension(key: str, data: bytes) -> Any:
    """A webdataset handler."""
    import simplejpeg

    return simplejpeg.decode_jpeg(data, "RGB") if key.endswith(".jpg") else None


class IndexedFaces:
    """The set as torch's DataLoader wants it: a picture by its number, read by our offsets."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.reader: ShardReader | None = None

    def __len__(self) -> int:
        return len(self.manifest.rows)

    def __getitem__(self, number: int) -> list[Array]:
        self.reader = self.reader or ShardReader()  # in the worker: open files and locks do not travel
        members = self.reader.members(self.manifest, self.manifest.rows[number])
        return [FIELD_BY_EXTENSION[name].decode(members[name]) for name in (IMAGE, LANDMARKS)]


def torch_reader(manifest: Manifest, workers: int) -> Reader:
    """torch's DataLoader with worker processes."""
    from torch.utils.data import DataLoader

    data: Any = IndexedFaces(manifest)
    loader = DataLoader(data, BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda: sum(len(images) for images, _ in loader)


def ray_data_reader(manifest: Manifest) -> Reader:
    """Ray Data: read_webdataset, simplejpeg in map, iter_torch_batches. Needs a running session."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = [storage.join(manifest.folder, shard.url) for shard in manifest.shards]

    def run() -> int:
        data = ray.data.read_webdataset(paths, decoder=None).map(decoded_row)
        return sum(len(batch["image"]) for batch in data.iter_torch_batches(batch_size=BATCH))

    return run


def decoded_row(row: dict[str, Any]) -> dict[str, Any]:
    """What a Ray task makes of one sample."""
    import simplejpeg

    landmarks = np.load(io.BytesIO(row[LANDMARKS]))
    return {"image": simplejpeg.decode_jpeg(row[IMAGE], "RGB"), "landmarks": landmarks}


def absent_peers() -> Iterator[str]:
    """A sentence for each reader that is not installed here."""
    for name in ("torchdata", "litdata", "streaming", "ffcv"):
        if importlib.util.find_spec(name) is None:
            yield f"{name} was not measured: it is not installed."
