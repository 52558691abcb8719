"""The kinds of face model that can be opened, and the one call that opens them.

Models that are built from the user's files are kept in $FACEFILL_CACHE, or ~/.cache/facefill, under the
checksum of those files and of the code that builds from them.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facefill.errors import UserError
from facefill.geometry.bfm_model import bfm_files, build_bfm
from facefill.geometry.default_model import default_model
from facefill.geometry.head_asset import asset_checksum
from facefill.geometry.ict_model import build_ict, ict_files
from facefill.geometry.model_parts import ModelParts, model_from_parts
from facefill.geometry.morphable_model import MorphableModel, load_model, save_model
from facefill.geometry.statismo_model import build_statismo, statismo_files


@dataclass(frozen=True)
class ModelKind:
    """name: as a user writes it; title: what it is; files: what the path holds; licence: and where from."""

    name: str
    title: str
    files: str
    licence: str
    needs_path: bool


MODEL_KINDS = (
    ModelKind(
        "default",
        "the head that comes with this package, built from the CC0 MakeHuman data",
        "none",
        "CC0; nothing to obtain",
        needs_path=False,
    ),
    ModelKind(
        "ict",
        "the ICT face model (light): 100 identities, 53 expression shapes, no colour of its own",
        "the folder FaceXModel with generic_neutral_mesh.obj, identity000.obj to identity099.obj and one "
        ".obj per expression; or its face area packed as one .npz",
        "MIT; github.com/ICT-VGL/ICT-FaceKit",
        needs_path=True,
    ),
    ModelKind(
        "bfm2009",
        "the Basel Face Model 2009 with expressions: the coefficients of 300W-LP, 300W-3D and AFLW2000-3D",
        "a folder with 01_MorphableModel.mat, model_info.mat and Model_Expression.mat (or Exp_Pca.bin with "
        "std_exp.txt, and BFM_exp_idx.mat with tri.mat in place of model_info.mat); or Model_Shape.mat and "
        "Model_Expression.mat as 3DDFA makes them",
        "research only, free after registration; faces.dmi.unibas.ch/bfm; expressions and model_info.mat: "
        "the 3DDFA project (Zhu et al. 2016) or github.com/Juyong/3DFace",
        needs_path=True,
    ),
    ModelKind(
        "statismo",
        "the Basel Face Models 2017 and 2019, or any other shape model in that HDF5 layout",
        "one .h5 file, such as model2017-1_bfm_nomouth.h5, and a text file with 68 landmarks in iBUG order: "
        "a vertex number counted from 0, or x y z, per line",
        "research only, free after registration; faces.dmi.unibas.ch/bfm",
        needs_path=True,
    ),
    ModelKind(
        "saved",
        "a model that this program saved",
        "one .npz file",
        "that of the model it was made from",
        needs_path=True,
    ),
)


def open_model(kind: str, path: Path | None = None, landmarks: Path | None = None) -> MorphableModel:
    """The model of a kind (MODEL_KINDS) at a path; `landmarks` is for statismo alone.

    Raises UserError that names the file, what was expected and the remedy.
    """
    known = {each.name: each for each in MODEL_KINDS}
    if kind not in known:
        raise UserError(f"no kind of face model is called {kind!r}: choose among {', '.join(known)}")
    if kind == "default" and path is not None:
        raise UserError(f"the default face model is built in and takes no files: leave out {path}")
    if kind != "statismo" and landmarks is not None:
        raise UserError(f"the {kind} face model knows its 68 landmarks: leave out {landmarks}")
    if kind == "default":
        return default_model()
    if path is None:
        raise UserError(f"the {kind} face model needs a path: {known[kind].files} ({known[kind].licence})")
    if not path.exists():
        raise UserError(f"{path} does not exist: expected {known[kind].files} ({known[kind].licence})")
    if kind == "saved":
        return load_model(path)
    if kind == "ict":
        files = ict_files(path)
        return _built(kind, files, lambda: build_ict(files))
    if kind == "bfm2009":
        sources = bfm_files(path)
        return _built(kind, sources.all, lambda: build_bfm(sources))
    files = statismo_files(path, landmarks)
    return _built(kind, files, lambda: build_statismo(*files))


def _built(kind: str, files: list[Path], build: Callable[[], ModelParts]) -> MorphableModel:
    """The model from the cache, or built and put there."""
    folder = Path(os.environ.get("FACEFILL_CACHE") or Path.home() / ".cache" / "facefill")
    path = folder / f"{kind}-{_checksum(files)[:16]}.npz"
    if path.is_file():
        try:
            return load_model(path)
        except UserError:  # a damaged cache is built again
            pass
    try:
        model = model_from_parts(build())
    except UserError:
        raise
    except ValueError as error:  # a mesh that cannot be unwrapped
        raise UserError(f"{files[0]} is not the mesh of a face: {error}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_model(model, path)
    except OSError:  # a cache that cannot be written is no error: the next process builds again
        pass
    return model


def _checksum(files: list[Path]) -> str:
    """sha256 (hex) of the model's files, of the default head, whose skin it may take, and of this package's
    geometry."""
    digest = hashlib.sha256(asset_checksum().encode())
    for source in [*sorted(Path(__file__).parent.glob("*.py")), *files]:
        digest.update(source.name.encode())
        with source.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
