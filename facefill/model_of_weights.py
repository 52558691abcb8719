"""Which morphable model trained networks belong to: their card names it, and this finds it."""

from dataclasses import dataclass
from pathlib import Path

from facefill.errors import UserError
from facefill.geometry.default_model import NAME, default_model
from facefill.geometry.morphable_model import MorphableModel, load_model
from facefill.weights import read_card


@dataclass(frozen=True)
class TrainedOn:
    """What a card says of the model: `kind` as in facefill.geometry.face_models."""

    kind: str
    name: str
    checksum: str


def model_of_weights(folder: Path, given: Path | None = None) -> MorphableModel:
    """The morphable model of a weights folder, ready for `load_completer`, which compares the checksum.

    given: a saved .npz, or the model's own files. Without it the default model where the card names that, or
    the `model/{checksum}.npz` that a run leaves beside its weights. Raises UserError where there is none.
    """
    named = trained_on(folder)
    if given is not None:
        return opened(named.kind, given)
    if named.kind == "default":
        return default_model()
    for beside in (folder.absolute().parent, folder):
        path = beside / "model" / f"{named.checksum[:16]}.npz"
        if path.is_file():
            return load_model(path)
    raise UserError(
        f"weights {folder}: trained with morphable model {named.name} ({named.checksum[:12]}), which is not "
        f"beside them as {path.parent.name}/{path.name}; give it with --model FILE.npz or its own folder"
    )


def trained_on(folder: Path) -> TrainedOn:
    """The model on the inpainter's card. Raises UserError for a folder without one."""
    named = read_card(folder / "inpaint")["model"]
    kind = named.get("kind", "default" if named["name"] == NAME else "saved")
    return TrainedOn(kind, named["name"], named["checksum"])


def opened(kind: str, path: Path) -> MorphableModel:
    """A saved model, or the files of a model of that kind."""
    from facefill.geometry.face_models import open_model

    if kind in ("default", "saved") or path.suffix == ".npz":
        try:
            return load_model(path)
        except UserError:
            if kind != "ict":  # whose own files may be an .npz too
                raise
    return open_model(kind, path)
