"""A trained stage as MLflow's registry serves it: safetensors, read by the installed package, no pickle.

    model = mlflow.pyfunc.load_model("models:/facefill-inpaint@candidate")
    completed = model.predict({"image": image, "hole": hole})["image"]

Pictures are aligned crops as they are stored, uint8 RGB (N, 224, 224, 3); in `hole`, uint8 (N, 224, 224),
what is not 0 is missing.

- `inpaint`: image, hole -> image, the photograph completed (with the encoder of the stage it was trained on)
- `morphable`, `morphable_finetune`: image -> fit (N, 261), the encoder's answer (docs/conventions.md)
- `segment`: image -> logits (N, 3, 224, 224) of FACE, OCCLUDER, BACKGROUND
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facefill.completion import complete, fit_from_encoder
from facefill.config import STAGES
from facefill.geometry.camera import WeakPerspective
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import EXPRESSION_COUNT, IDENTITY_COUNT, MorphableModel, load_model
from facefill.geometry.reconstruction import Fit, fit_to_vector, reconstruct
from facefill.geometry.spherical_harmonics import ambient_illumination
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import build_atlas
from facefill.networks.segmenter import Segmenter
from facefill.weights import filled, filled_encoder, load_completer, read_card
from pipelines import checkpoints, storage
from pipelines.train_job import TrainJob, digest_of

SIZE = 224
GREY = 0.5
HOLE = (slice(110, 150), slice(80, 120))  # of the example
Arrays = dict[str, np.ndarray]


def model_to_register(job: TrainJob) -> dict[str, Any] | None:
    """What a finished job gives to the registry, as plain data: its name there, card, tags and files.

    None for a stage that is none of facefill's own. The inpainter brings the networks that it stands on.
    """
    if job.stage not in STAGES:
        return None
    folders = {job.stage: job.weights_folder} | (job.parents if job.stage == "inpaint" else {})
    cards = {stage: checkpoints.read_card(folder) for stage, folder in folders.items()}
    files = {
        f"weights/{stage}/{name}": storage.join(folder, name)
        for stage, folder in folders.items()
        for name in ("card.json", *(f"{network}.safetensors" for network in cards[stage]["networks"]))
    }
    if job.model.url:
        files["model.npz"] = job.model.url
    card = cards[job.stage]
    tags = {"stage": job.stage, "steps": str(job.steps), "inputs": job.digest, "digest": digest_of_card(card)}
    return {"name": f"facefill-{job.stage}", "card": card, "tags": tags, "files": files}


def digest_of_card(card: Mapping[str, Any]) -> str:
    """One checksum of all networks that a card lists."""
    return digest_of({name: network["sha256"] for name, network in card["networks"].items()})


def collect(files: Mapping[str, str], folder: str) -> Path:
    """Copy files (path -> URL) into a folder as `StageModel` reads it."""
    data = Path(folder) / "stage"
    for path, url in files.items():
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(storage.read_bytes(url))
    stage = next(iter(files)).split("/")[1]
    (data / "stage.json").write_text(json.dumps({"stage": stage}))
    return data


def card_text(card: Mapping[str, Any]) -> str:
    """The card as Markdown for people."""
    networks = [f"- {name}: sha256 {facts['sha256']}" for name, facts in card["networks"].items()]
    metrics = [f"| {name} | {value:.5g} |" for name, value in sorted(card.get("metrics", {}).items())]
    lines = [
        f"# facefill: stage {card['stage']}",
        f"{card['steps']} steps of batch {card['batch_size']}, seed {card['seed']}, morphable model "
        f"{card['model']['name']} ({card['model']['checksum'][:12]}).",
        "\n".join(networks),
        "\n".join(["| last metrics | |", "|---|---|", *metrics]),
        f"```json\n{json.dumps(card['config'], indent=1)}\n```",
    ]
    return "\n\n".join(lines)


class StageModel:
    """A stage's trained networks behind arrays; see the head of this file."""

    def __init__(self, data: Path) -> None:
        self.stage = json.loads((data / "stage.json").read_text())["stage"]
        saved = data / "model.npz"
        self._model = load_model(saved) if saved.exists() else default_model()
        folder = data / "weights"
        self._completer = load_completer(folder, self._model) if self.stage == "inpaint" else None
        if self._completer is None:
            card = read_card(folder / self.stage)
            if self.stage == "segment":
                segmenter = Segmenter(card["config"]["width"])
                self._network = filled(segmenter, folder / self.stage, "segmenter", card)
            else:
                self._network = filled_encoder(folder / self.stage, card)

    @torch.no_grad()
    def predict(self, inputs: Mapping[str, np.ndarray], params: dict[str, Any] | None = None) -> Arrays:
        """Arrays in, arrays out, by name; `params` is MLflow's and has no meaning here."""
        image = torch.from_numpy(np.array(inputs["image"])).permute(0, 3, 1, 2).float() / 255
        if self._completer is not None:
            hole = torch.from_numpy(np.array(inputs["hole"]) != 0)[:, None].float()
            parts = self._completer
            last = complete(image, hole, parts.encoder, parts.inpainter, parts.model, parts.atlas)[-1]
            return {"image": as_stored(last.image)}
        answer = self._network(image)
        if self.stage == "segment":
            return {"logits": answer.numpy()}
        return {"fit": fit_to_vector(fit_from_encoder(answer)).numpy()}

    def example(self) -> Arrays:
        """The inputs of one call: the model's mean face, for `inpaint` with a hole in its middle."""
        image = as_stored(mean_face(self._model))
        if self.stage != "inpaint":
            return {"image": image}
        hole = np.zeros((1, SIZE, SIZE), np.uint8)
        hole[0][HOLE] = 255
        return {"image": image, "hole": hole}


def _load_pyfunc(path: str) -> StageModel:
    """What MLflow calls, with the folder that `collect` made."""
    return StageModel(Path(path))


def as_stored(image: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] as uint8 (N, H, W, 3)."""
    return (image.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().numpy()


def mean_face(model: MorphableModel) -> Tensor:
    """(1, 3, 224, 224) in [0, 1]: the mean face from the front, in even light, on grey."""
    camera = WeakPerspective(torch.tensor([1.0e-3]), torch.zeros(1, 3), torch.full((1, 2), (SIZE - 1) / 2))
    identity, expression = torch.zeros(1, IDENTITY_COUNT), torch.zeros(1, EXPRESSION_COUNT)
    fit = Fit(identity, expression, camera, ambient_illumination(1))
    mesh = reconstruct(fit, model, build_atlas(model), SIZE, SIZE)
    texture = (model.mean_albedo * mesh.shading).clamp(0, 1)
    covered = coverage(mesh.fragments)
    return render(texture, mesh.fragments, model) * covered + GREY * (1 - covered)
