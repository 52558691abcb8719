"""The morphable model of a run: opened once where the run is started, found by every worker in its output.

The default model is built by each machine for itself. Any other is published below the run's output as
`model/{checksum}.npz`, so that workers need neither the user's files nor the time to read them.
"""

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import MorphableModel, check_usable, checksum, load_model, save_model
from pipelines import storage
from pipelines.config import ModelConfig

DEFAULT = "default"


@dataclass(frozen=True)
class RunModel:
    """Which model a run uses, as plain data. url: its .npz; empty for the default model."""

    kind: str
    name: str
    checksum: str
    url: str = ""

    def card(self) -> dict[str, str]:
        """What the card of trained weights says of it."""
        return {"kind": self.kind, "name": self.name, "checksum": self.checksum}

    def owns(self, name: str) -> bool:
        """Whether coefficients of the model called `name` are its own: bfm2009 is short for bfm2009-3ddfa."""
        return self.name == name or self.name.startswith(f"{name}-")

    def __str__(self) -> str:
        return f"{self.name} ({self.checksum[:12]})"


def publish_model(config: ModelConfig, output: str) -> RunModel:
    """Open the model that the settings name and make it known to workers.

    Raises UserError for files that are absent, are not such a model, or hold one that cannot be used.
    """
    if config.kind == DEFAULT:
        return default_run_model()
    from facefill.geometry.face_models import open_model

    path = storage.local_copy(config.path) if "://" in config.path else Path(config.path)
    model = open_model(config.kind, path, Path(config.landmarks) if config.landmarks else None)
    check_usable(model, config.path)
    return published(model, config.kind, output)


def published(model: MorphableModel, kind: str, output: str) -> RunModel:
    """The model in the run's output, written there unless it is there."""
    identity = checksum(model)
    url = model_url(output, identity)
    if not storage.exists(url):
        with tempfile.TemporaryDirectory() as scratch:
            saved = Path(scratch) / "model.npz"
            save_model(model, saved)
            storage.write_bytes(url, saved.read_bytes())
    return RunModel(kind, model.name, identity, url)


@functools.cache
def default_run_model() -> RunModel:
    """The model that is used where no other is asked for."""
    model = default_model()
    return RunModel(DEFAULT, model.name, checksum(model))


def model_url(output: str, identity: str) -> str:
    """Where a run keeps the model with that checksum."""
    return storage.join(output, "model", f"{identity[:16]}.npz")


@functools.lru_cache(maxsize=2)
def load_run_model(run_model: RunModel) -> MorphableModel:
    """The model itself, once per process. Raises UserError where it is absent or another one."""
    if run_model.kind == DEFAULT:
        found = default_run_model()
        if found.checksum != run_model.checksum:
            raise UserError(
                f"the default model of this machine is {found}, the run's is {run_model}: install the same "
                "version of facefill everywhere, or publish one with model.kind=saved model.path=FILE.npz"
            )
        return default_model()
    try:
        model = load_model(storage.local_copy(run_model.url))
    except FileNotFoundError:
        raise UserError(
            f"{run_model.url}: the run's model {run_model} is not there; output must be a folder that all "
            "machines share, or s3://..."
        ) from None
    if checksum(model) != run_model.checksum:
        raise UserError(
            f"{run_model.url} is not {run_model} but {model.name} ({checksum(model)[:12]}): remove it, and "
            "the same command writes it again"
        )
    return model


def check_made_with(model: RunModel, made_with: Mapping[str, str], what: str) -> None:
    """Raise UserError unless something was made with `model`, by the name and the checksum noted there."""
    if made_with["checksum"] != model.checksum:
        other = f"{made_with['name']} ({made_with['checksum'][:12]})"
        raise UserError(
            f"{what} with morphable model {other}, and this run's is {model}: use the matching model, or "
            "make it again"
        )
