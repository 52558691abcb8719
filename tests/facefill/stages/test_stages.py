"""Every stage: it learns, it continues exactly, and it publishes what its children need."""

from dataclasses import replace

import pytest
import torch

from facefill.config import (
    InpaintConfig,
    MorphableConfig,
    OptimizerConfig,
    SegmentConfig,
    StageConfig,
    finetune_weights,
)
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.encoder import Encoder
from facefill.stages import Assets, Stage, build_stage
from facefill.stages.inpaint import InpaintStage
from tests.support.faces import make_batch, model_and_atlas

OPTIMIZER = OptimizerConfig(learning_rate=1e-3)
WIDTH = 0.125
CASES: dict[str, StageConfig] = {
    "morphable": MorphableConfig(width=WIDTH, optimizer=OPTIMIZER),
    "morphable_finetune": MorphableConfig(width=WIDTH, optimizer=OPTIMIZER, loss_weights=finetune_weights()),
    "segment": SegmentConfig(width=WIDTH, optimizer=OPTIMIZER),
    "inpaint": InpaintConfig(
        width=WIDTH, discriminator_width=WIDTH, encoder_width=WIDTH, optimizer=OPTIMIZER
    ),
}


def make_stage(name: str, seed: int = 0) -> Stage:
    model, atlas = model_and_atlas()
    torch.manual_seed(7)
    parents = {"encoder": Encoder(WIDTH).state_dict(), "albedo_decoder": AlbedoDecoder(WIDTH).state_dict()}
    torch.manual_seed(seed)
    chosen = {} if name in ("morphable", "segment") else parents
    return build_stage(name, CASES[name], Assets(model, atlas, chosen), torch.device("cpu"))


@pytest.mark.parametrize("name", CASES)
def test_a_few_steps_on_one_batch_lower_its_losses(name: str) -> None:
    stage = make_stage(name)
    batch = make_batch(2)
    history = [stage.train_step(batch) for _ in range(9)]
    assert stage.step == 9
    key = {"segment": "loss/focal", "inpaint": "loss/albedo", "morphable": "loss/shape"}.get(
        name, "loss/landmarks"
    )
    assert float(history[-1][key]) < float(history[0][key])
    metrics = stage.evaluate(batch)
    assert metrics and all(value.isfinite() for value in metrics.values())
    sheet = stage.pictures(batch)
    assert sheet.shape[0] == 3 and float(sheet.min()) >= 0 and float(sheet.max()) <= 1


@pytest.mark.parametrize("name", CASES)
def test_continuing_from_the_state_is_the_same_to_the_bit(name: str) -> None:
    batches = [make_batch(1, seed) for seed in range(4)]
    straight = make_stage(name)
    for batch in batches:
        straight.train_step(batch)

    first = make_stage(name)
    for batch in batches[:2]:
        first.train_step(batch)
    continued = make_stage(name, seed=99)
    continued.load_state_dict(first.state_dict())
    for batch in batches[2:]:
        continued.train_step(batch)

    for network, state in straight.weights().items():
        for key, value in state.items():
            assert torch.equal(value, continued.weights()[network][key]), (network, key)


def test_evaluating_changes_nothing() -> None:
    stage = make_stage("inpaint")
    before = stage.weights()
    stage.evaluate(make_batch(1))
    stage.pictures(make_batch(1))
    after = stage.weights()
    assert all(torch.equal(before[n][k], after[n][k]) for n in before for k in before[n])


def test_the_discriminator_learns_every_other_step_and_the_encoder_never() -> None:
    stage = make_stage("inpaint")
    assert isinstance(stage, InpaintStage)
    encoder = {key: value.clone() for key, value in stage.encoder.state_dict().items()}
    for step in range(4):
        before = stage.weights()
        names = set(stage.train_step(make_batch(1, step)))
        after = stage.weights()
        moved = {n: any(not torch.equal(before[n][k], after[n][k]) for k in before[n]) for n in before}
        assert moved == {"inpainter": True, "discriminator": step % 2 == 0}
        assert ("loss/discriminator" in names) == (step % 2 == 0)
        assert ("loss/adversarial" in names) == (step % 2 == 1)
    assert all(torch.equal(value, encoder[key]) for key, value in stage.encoder.state_dict().items())


def test_a_zero_weight_skips_the_term() -> None:
    stage = make_stage("morphable_finetune")
    terms = stage.train_step(make_batch(1))
    assert set(terms) == {"loss/landmarks", "loss/reconstruction", "loss/symmetry", "loss/constancy"}


@pytest.mark.parametrize("name", ["morphable", "segment", "inpaint"])
def test_bfloat16_moves_the_weights_the_same_way(name: str) -> None:
    """The updates of one plain gradient step agree in direction with those of float32."""
    moved = {}
    for precision in ("float32", "bfloat16"):
        config = replace(CASES[name], precision=precision)
        model, atlas = model_and_atlas()
        torch.manual_seed(7)
        parents = {"encoder": Encoder(WIDTH).state_dict()} if name == "inpaint" else {}
        torch.manual_seed(1)
        gradients: list[torch.Tensor] = []
        stage = build_stage(
            name,
            config,
            Assets(model, atlas, parents),
            torch.device("cpu"),
            lambda parameters, into=gradients: into.extend(p.grad.clone().flatten() for p in parameters),
        )
        stage.train_step(make_batch(2))
        moved[precision] = torch.cat(gradients)
    likeness = torch.nn.functional.cosine_similarity(moved["float32"], moved["bfloat16"], dim=0)
    assert float(likeness) > 0.95
