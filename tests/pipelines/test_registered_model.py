"""The registry's models: whoever loads one gets what the stage's own networks answer."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from toy_stage import toy_job

from facefill.completion import complete, fit_from_encoder
from facefill.geometry.default_model import default_model
from facefill.geometry.reconstruction import fit_to_vector
from facefill.weights import load_completer
from pipelines.registered_model import StageModel, collect, digest_of_card, model_to_register
from pipelines.run_model import default_run_model
from pipelines.tracked_record import read_record
from pipelines.tracking import Tracking, deliver, ended, open_run
from tests.support.trained import publish_untrained


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """A run's output whose stages are finished; their networks are untrained."""
    folder = tmp_path_factory.mktemp("registered")
    weights = publish_untrained(folder / "weights")
    for path in weights.glob("*/card.json"):
        trained = {"steps": 7, "batch_size": 2, "seed": 3, "metrics": {"loss/albedo": 0.125}}
        path.write_text(json.dumps(json.loads(path.read_text()) | trained))
    return folder


@pytest.fixture(scope="module")
def completer(output):
    return load_completer(output / "weights", default_model())


def job_of(output, stage):
    parents = {"morphable": str(output / "weights/morphable")} if stage == "inpaint" else {}
    return replace(toy_job(output), stage=stage, model=default_run_model(), parents=parents)


def as_floats(image):
    return torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("stage", ["morphable", "segment"])
@torch.no_grad()
def test_a_stage_answers_as_its_network(stage, output, completer, tmp_path):
    model = StageModel(collect(model_to_register(job_of(output, stage))["files"], str(tmp_path)))
    example = model.example()
    assert example["image"].shape == (1, 224, 224, 3) and example["image"].std() > 20  # a face on grey
    answer = model.predict(example)
    if stage == "segment":
        assert np.array_equal(answer["logits"], completer.segmenter(as_floats(example["image"])).numpy())
    else:
        own = fit_to_vector(fit_from_encoder(completer.encoder(as_floats(example["image"]))))
        assert np.array_equal(answer["fit"], own.numpy()) and own.shape == (1, 261)


def test_other_stages_are_not_registered(tmp_path):
    assert model_to_register(toy_job(tmp_path)) is None


def test_the_inpainter_goes_through_the_server_and_completes(output, completer, mlflow_server, monkeypatch):
    run = open_run(
        Tracking(mlflow_server.address, "inpaint"),
        "3dfacefill/inpaint",
        {"steps": 7},
        str(output / "stages/inpaint/mlflow_run.json"),
    )
    with ended(run):
        run.log_model(model_to_register(job_of(output, "inpaint")))
    file = read_record(run.url)
    assert file.arrived(mlflow_server.address).complete
    client = MlflowClient(mlflow_server.address)
    version = client.get_model_version_by_alias("facefill-inpaint", "candidate")
    card = json.loads((output / "weights/inpaint/card.json").read_text())
    assert version.run_id == file.arrived(mlflow_server.address).run_id
    assert version.tags["digest"] == digest_of_card(card) and version.tags["stage"] == "inpaint"
    assert card["networks"]["inpainter"]["sha256"] in version.description

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.address)
    loaded = mlflow.pyfunc.load_model("models:/facefill-inpaint@candidate")
    example = loaded.input_example
    answer = loaded.predict(example)["image"]
    image, hole = as_floats(example["image"]), torch.from_numpy(example["hole"] != 0)[:, None].float()
    parts = completer
    with torch.no_grad():
        own = complete(image, hole, parts.encoder, parts.inpainter, parts.model, parts.atlas)[-1].image
    assert np.array_equal(answer, (own.permute(0, 2, 3, 1) * 255).round().byte().numpy())
    outside = example["hole"] == 0
    assert np.array_equal(answer[outside], example["image"][outside])
    assert not np.array_equal(answer, example["image"])

    file.record.trackers[mlflow_server.address].sent.remove("model")  # as if the answer had been lost
    deliver(file, mlflow_server.address)
    assert len(client.search_model_versions("name = 'facefill-inpaint'")) == 1
