"""Fits by a trained encoder: whose they are, what they hold, and what a retrained one makes stale."""

from dataclasses import replace

import pytest
import torch

from facefill.completion import fit_from_encoder
from facefill.errors import UserError
from facefill.geometry.reconstruction import fit_to_vector, shift_fit
from facefill.networks.encoder import Encoder
from facefill.samples import decode_sample
from pipelines import fit, tables
from pipelines.checkpoints import publish_weights
from pipelines.config_file import config_from_tree
from pipelines.fit import fit_dataset
from pipelines.fit_encoder import RunEncoder, find_encoder, load_encoder
from pipelines.progress import Progress
from pipelines.project_uv import project_dataset
from pipelines.run_model import RunModel, default_run_model
from pipelines.shard_reader import ShardReader
from pipelines.steps import plan
from tests.support.face_shards import FIVE, GOOD, NONE, write_face_shards

WIDTH = 0.125


def publish(weights: str, seed: int, stage: str = "morphable", **card: object) -> RunEncoder:
    torch.manual_seed(seed)
    made_with = {"config": {"width": WIDTH}, "model": default_run_model().card(), **card}
    publish_weights(f"{weights}/{stage}", {"encoder": Encoder(WIDTH).state_dict()}, made_with)
    return find_encoder(weights, default_run_model())


def vectors_of(folder) -> torch.Tensor:
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in tables.read_table(str(path))]
    return torch.tensor([row["fit"] for row in rows if not row["reason"]], dtype=torch.float32)


@pytest.fixture(autouse=True)
def any_fit_will_do(monkeypatch):
    """The encoder of these tests has learnt nothing."""
    monkeypatch.setattr(fit, "WORST_LANDMARKS_PX", 1e4)
    monkeypatch.setattr(fit, "LEAST_SEEN", 0.0)


def test_fits_are_the_encoders_in_the_frame_of_the_aligned_picture(tmp_path):
    encoder = publish(str(tmp_path / "weights"), 0)
    manifest = write_face_shards(str(tmp_path / "shards"), [GOOD, FIVE, NONE])
    outcome = fit_dataset(str(tmp_path / "shards"), str(tmp_path / "fits"), encoder=encoder, workers=0)
    assert (outcome["fits"], outcome["rejected"]) == (2, 1) and outcome["photometric"] > 0
    reader = ShardReader()
    samples = [decode_sample(reader.members(manifest, row), ("image",)) for row in manifest.rows[:2]]
    images = torch.stack([torch.from_numpy(sample["image"]) for sample in samples])
    crops = images.permute(0, 3, 1, 2)[:, :, 16:240, 16:240] / 255
    with torch.no_grad():
        expected = shift_fit(fit_from_encoder(load_encoder(encoder)(crops)), torch.tensor([16.0, 16.0]))
    torch.testing.assert_close(vectors_of(tmp_path / "fits"), fit_to_vector(expected), rtol=1e-4, atol=1e-4)


def test_a_retrained_encoder_makes_its_fits_and_their_projections_stale_and_nothing_else(tmp_path):
    shards, fits, uv = (str(tmp_path / name) for name in ("shards", "fits", "uv"))
    write_face_shards(shards, [GOOD] * 2, per_shard=1)

    def made(encoder: RunEncoder | None) -> tuple[str, list[int], list[int]]:
        fit_dataset(shards, fits, encoder=encoder, workers=0)
        digest = project_dataset(shards, fits, uv, workers=0).digest()
        times = [
            [path.stat().st_mtime_ns for path in sorted((tmp_path / folder).glob(f"*{ending}"))]
            for folder, ending in (("fits", ".parquet"), ("uv", ".tar"))
        ]
        return digest, *times

    first = made(publish(str(tmp_path / "weights"), 0))
    assert made(find_encoder(str(tmp_path / "weights"), default_run_model())) == first
    second = made(publish(str(tmp_path / "weights"), 1))
    assert second[0] != first[0]
    assert not set(second[1]) & set(first[1]) and not set(second[2]) & set(first[2])

    table = tmp_path / "fits" / "drawn-train-000001.parquet"
    table.unlink()
    third = made(find_encoder(str(tmp_path / "weights"), default_run_model()))
    assert third[0] == second[0] and third[2] == second[2], "the same fits again keep their projections"
    assert third[1][0] == second[1][0] and third[1][1] != second[1][1]
    assert made(None)[0] != second[0]


def test_the_step_knows_the_encoder_by_its_checksum(tmp_path):
    weights = str(tmp_path / "weights")
    tree = {
        "name": "x",
        "output": str(tmp_path / "run"),
        "datasets": [{"name": "faces", "source": "celeba", "root": "/data", "encoder": weights}],
    }
    config = config_from_tree(tree, "test")

    def settings() -> dict[str, object]:
        return {step.name: step.settings for step in plan(config, default_run_model(), Progress())}

    with pytest.raises(UserError, match=r"no trained encoder here.*OUTPUT/weights"):
        settings()
    publish(weights, 0)
    before = settings()
    publish(weights, 1)
    after = settings()
    assert before["shard faces"] == after["shard faces"] and before["fit faces"] != after["fit faces"]
    for other in ({"fit": False}, {"ground_truth": "bfm2009"}):
        changed = tree | {"datasets": [tree["datasets"][0] | other]}
        with pytest.raises(UserError, match="leave one of them out"):
            config_from_tree(changed, "test")


def test_which_encoder_counts_and_what_is_refused(tmp_path):
    weights = str(tmp_path / "weights")
    plain = publish(weights, 0)
    tuned = publish(weights, 1, "morphable_finetune")
    assert tuned.url.endswith("morphable_finetune") and tuned.sha256 != plain.sha256
    card = {"model": default_run_model().card(), "parents": {"morphable": "x"}}
    publish_weights(f"{weights}/inpaint", {}, card)
    assert find_encoder(weights, default_run_model()) == plain

    with pytest.raises(UserError, match="trained with morphable model"):
        find_encoder(weights, RunModel("ict", "ict", "b" * 64))
    with pytest.raises(UserError, match="checksum differs"):
        load_encoder(replace(plain, sha256="0" * 64))
