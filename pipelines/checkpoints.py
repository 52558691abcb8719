"""Checkpoints of a running stage, and the published weights of a finished one.

A checkpoint is a folder `checkpoint-0000200/` with `state.pt` (everything an exact continuation needs,
readable with `weights_only=True`) and `meta.json`, which is written last and holds the state's checksum. So a
folder that a killed process left half-written is never taken for a checkpoint, and the one before it serves.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.weights import checked_state, decode_card, encode_weights
from pipelines import storage

log = logging.getLogger(__name__)

NEWEST = 2  # the last, and the one before in case it turns out broken
META = "meta.json"
STATE = "state.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Where a stage stood after `step` updates, and of which configuration. kept: it is never removed."""

    url: str
    stage: str
    step: int
    digest: str
    world_size: int
    sha256: str
    kept: bool = False


def save_checkpoint(
    folder: str,
    stage: str,
    step: int,
    digest: str,
    world_size: int,
    state: dict[str, Any],
    kept: bool = False,
) -> Checkpoint:
    """Publish the state after `step` updates in the stage's folder.

    Of those that are not to be kept, all but the newest NEWEST are removed.
    """
    url = storage.join(folder, f"checkpoint-{step:07d}")
    storage.remove(
        storage.join(url, META)
    )  # while its state is replaced, an older folder of that name is none
    with storage.open(storage.join(url, STATE), "wb") as file:
        hashed = Hashed(file)
        torch.save(state, cast(IO[bytes], hashed))
    checkpoint = Checkpoint(url, stage, step, digest, world_size, hashed.sha256.hexdigest(), kept)
    meta = {name: value for name, value in asdict(checkpoint).items() if name != "url"}
    storage.write_text(storage.join(url, META), json.dumps(meta, indent=1))
    for old in list_checkpoints(folder)[:-NEWEST]:
        if not old.kept:
            storage.remove(old.url)
    return checkpoint


class Hashed:
    """A file to write to that keeps the checksum of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def list_checkpoints(folder: str) -> list[Checkpoint]:
    """The complete checkpoints in a stage's folder, oldest first."""
    found = []
    for url in storage.list_files(folder, f"/{META}"):
        meta = json.loads(storage.read_text(url))
        found.append(Checkpoint(url=url.removesuffix(f"/{META}"), **meta))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def newest_checkpoint(folder: str, digest: str, steps: int) -> Checkpoint | None:
    """The last checkpoint of this configuration whose state is whole; None begins from the start.

    Raises UserError when the folder holds another configuration, or has gone beyond `steps`.
    """
    for checkpoint in reversed(list_checkpoints(folder)):
        if checkpoint.digest != digest:
            raise UserError(
                f"{folder} holds a checkpoint of another configuration (step {checkpoint.step}, digest "
                f"{checkpoint.digest[:12]}, this run is {digest[:12]}): give the run another output, or "
                "remove that folder to begin anew"
            )
        if checkpoint.step > steps:
            raise UserError(
                f"{folder} is at step {checkpoint.step}, beyond the {steps} asked for: raise steps, or "
                "remove that folder to begin anew"
            )
        try:
            if storage.sha256(storage.join(checkpoint.url, STATE)) == checkpoint.sha256:
                return checkpoint
        except FileNotFoundError:
            pass
        log.warning("%s is damaged; the checkpoint before it is taken", checkpoint.url)
    return None


def load_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """The state on the CPU."""
    with storage.open(storage.join(checkpoint.url, STATE), "rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def publish_weights(
    folder: str, weights: dict[str, dict[str, Tensor]], card: dict[str, Any]
) -> dict[str, str]:
    """Write `{network}.safetensors` for each network and `card.json` last; return network -> URL.

    folder: the stage's weights folder, {output}/weights/{stage}. card: what the weights are (stage, config,
    model, ...); the checksum and size of each file are added under `networks`.
    """
    urls, networks = {}, {}
    for network, state in sorted(weights.items()):
        urls[network] = storage.join(folder, f"{network}.safetensors")
        content = encode_weights(state)
        storage.write_bytes(urls[network], content)
        networks[network] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    storage.write_text(storage.join(folder, "card.json"), json.dumps(card | {"networks": networks}, indent=1))
    return urls


def read_weights(folder: str) -> dict[str, dict[str, Tensor]]:
    """The networks that `publish_weights` left in a folder, checked against their checksums.

    Raises UserError where the card or a file is missing or damaged.
    """
    card = read_card(folder)
    networks = {}
    for network in card["networks"]:
        url = storage.join(folder, f"{network}.safetensors")
        content = storage.read_bytes(url) if storage.exists(url) else b""
        networks[network] = checked_state(content, card, network, url)
    return networks


def read_card(folder: str) -> dict[str, Any]:
    """What `publish_weights` said of a weights folder. Raises UserError where there is no card."""
    url = storage.join(folder, "card.json")
    try:
        return decode_card(storage.read_text(url), url)
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no trained weights here (card.json is missing): train that stage first"
        ) from None
