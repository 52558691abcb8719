"""Every stage: it learns, it continues exactly, and it publishes what its children need."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

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
from facefill.errors import UserError
from facefill.face_parsing import UNKNOWN
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.encoder import Encoder
from facefill.samples import split_batch
from facefill.stages import Assets, Stage, alone, build_stage
from facefill.stages.inpaint import InpaintStage
from facefill.stages.training import Averaged
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


def make_stage(name: str, seed: int = 0, keep: list[torch.Tensor] | None = None, **settings: Any) -> Stage:
    """keep: gets a copy of every gradient that an update is made with. settings: of the stage's config."""
    model, atlas = model_and_atlas()
    torch.manual_seed(7)
    parents = {"encoder": Encoder(WIDTH).state_dict(), "albedo_decoder": AlbedoDecoder(WIDTH).state_dict()}
    torch.manual_seed(seed)
    chosen = {} if name in ("morphable", "segment") else parents

    def synchronize(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
        parameters = list(parameters)
        if keep is not None:
            keep.extend(p.grad.clone() for p in parameters)
        return alone(parameters)

    config = replace(CASES[name], **settings)
    return build_stage(name, config, Assets(model, atlas, chosen), torch.device("cpu"), synchronize)


@pytest.mark.parametrize("name", CASES)
def test_a_few_steps_on_one_batch_lower_its_losses(name: str) -> None:
    stage = make_stage(name)
    batch = make_batch(2)
    history = [stage.train_step([batch]) for _ in range(9)]
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
        straight.train_step([batch])

    first = make_stage(name)
    for batch in batches[:2]:
        first.train_step([batch])
    continued = make_stage(name, seed=99)
    continued.load_state_dict(first.state_dict())
    for batch in batches[2:]:
        continued.train_step([batch])

    for network, state in straight.weights().items():
        for key, value in state.items():
            assert torch.equal(value, continued.weights()[network][key]), (network, key)


def test_segmenting_learns_from_fitted_photographs_without_labels() -> None:
    labelled, bare = make_batch(1), make_batch(1)
    bare["parsing"] = torch.full_like(bare["parsing"], UNKNOWN)
    stage = make_stage("segment")
    assert 0 < float(stage.train_step([bare])["loss/focal"]) < 2
    assert float(stage.evaluate(bare)["metric/accuracy"]) > 0
    both = {name: torch.cat([labelled[name], bare[name]]) for name in ("seed", "image", "parsing", "fit")}
    both["fit"][0] = torch.nan  # as of a labelled picture that nobody fitted
    assert torch.isfinite(stage.train_step([both])["loss/focal"])
    bare["fit"] = torch.full_like(bare["fit"], torch.nan)
    assert float(stage.train_step([bare])["loss/focal"]) == 0


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
        names = set(stage.train_step([make_batch(1, step)]))
        after = stage.weights()
        moved = {n: any(not torch.equal(before[n][k], after[n][k]) for k in before[n]) for n in before}
        assert moved == {"inpainter": True, "discriminator": step % 2 == 0}
        assert ("loss/discriminator" in names) == (step % 2 == 0)
        assert ("loss/adversarial" in names) == (step % 2 == 1)
    assert all(torch.equal(value, encoder[key]) for key, value in stage.encoder.state_dict().items())


def test_a_zero_weight_skips_the_term() -> None:
    stage = make_stage("morphable_finetune")
    terms = stage.train_step([make_batch(1)])
    losses = {name for name in terms if name.startswith("loss/")}
    assert losses == {"loss/landmarks", "loss/reconstruction", "loss/symmetry", "loss/constancy"}


def test_a_share_of_a_batch_is_drawn_and_all_of_it_placed() -> None:
    """Another second face changes what is placed, not what is drawn of the first."""
    batch = make_batch(2)
    other = dict(batch)
    other["fit"] = torch.cat([batch["fit"][:1], batch["fit"][1:] * 1.1])
    other["uv_texture"] = torch.cat([batch["uv_texture"][:1], 1 - batch["uv_texture"][1:]])
    terms = [make_stage("morphable", drawn=0.5).train_step([each]) for each in (batch, other)]
    assert float(terms[0]["loss/texture"]) == float(terms[1]["loss/texture"])
    assert float(terms[0]["loss/shape"]) != float(terms[1]["loss/shape"])
    whole = [make_stage("morphable").train_step([each]) for each in (batch, other)]
    assert float(whole[0]["loss/texture"]) != float(whole[1]["loss/texture"])
    assert float(whole[0]["loss/shape"]) == float(terms[0]["loss/shape"])


@pytest.mark.parametrize("name", ["morphable", "segment", "inpaint"])
def test_bfloat16_moves_the_weights_the_same_way(name: str) -> None:
    """The updates of one plain gradient step agree in direction with those of float32."""
    moved = {}
    for precision in ("float32", "bfloat16"):
        gradients: list[torch.Tensor] = []
        make_stage(name, keep=gradients, precision=precision).train_step([make_batch(2)])
        moved[precision] = torch.cat([gradient.flatten() for gradient in gradients])
    likeness = torch.nn.functional.cosine_similarity(moved["float32"], moved["bfloat16"], dim=0)
    assert float(likeness) > 0.95


@pytest.mark.parametrize("name", CASES)
def test_a_batch_in_two_parts_moves_the_weights_as_the_whole_does(name: str) -> None:
    """Where every sample weighs the same: two equal halves, so each half's means are the whole's."""
    gradients: dict[int, list[torch.Tensor]] = {}
    for count in (1, 2):
        half = make_batch(1)
        whole = {key: value * 2 if key == "key" else torch.cat([value, value]) for key, value in half.items()}
        gradients[count] = []
        stage = make_stage(name, keep=gradients[count])
        terms = stage.train_step(split_batch(whole, count))
        assert all(value.isfinite() for value in terms.values())
    one, two = (torch.cat([gradient.flatten() for gradient in gradients[count]]) for count in (1, 2))
    assert float((one - two).norm() / one.norm()) < 0.02  # each part moves the spectral norm's estimate


@pytest.mark.parametrize("name", CASES)
def test_a_step_tells_gradients_and_learning_rates(name: str) -> None:
    stage = make_stage(name)
    terms = stage.train_step([make_batch(1)])
    network = {"segment": "segmenter", "inpaint": "inpainter"}.get(name, "encoder")
    assert float(terms[f"gradient/{network}"]) > 0
    assert float(terms[f"rate/{network}"]) == pytest.approx(OPTIMIZER.learning_rate)


@pytest.mark.parametrize("name", CASES)
def test_gradients_that_are_no_numbers_move_nothing(name: str) -> None:
    stage = make_stage(name)
    stage.train_step([make_batch(1)])
    descent = stage.descent  # type: ignore[attr-defined]
    kept = [p.detach().clone() for p in descent.parameters], copy.deepcopy(descent.adam.state_dict())

    def broken(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.zero_()  # as ranks do with gradients that are not finite
        return torch.tensor(float("nan"))

    descent.synchronize = broken
    stage.train_step([make_batch(1, 1)])
    assert all(torch.equal(a, b) for a, b in zip(kept[0], descent.parameters, strict=True))
    for place, state in descent.adam.state_dict()["state"].items():
        assert all(torch.equal(state[what], kept[1]["state"][place][what]) for what in state)
    descent.synchronize = alone
    stage.train_step([make_batch(1, 2)])
    assert any(not torch.equal(a, b) for a, b in zip(kept[0], descent.parameters, strict=True))


def test_published_weights_are_the_moving_average() -> None:
    stage = make_stage("inpaint")
    assert isinstance(stage, InpaintStage)
    expected = [parameter.detach().clone() for parameter in stage.inpainter.parameters()]
    for step in range(3):
        stage.train_step([make_batch(1, step)])
        decay = (1 + step) / (10 + step)  # the configured 0.999 is far above these
        expected = [
            decay * mean + (1 - decay) * parameter.detach()
            for mean, parameter in zip(expected, stage.inpainter.parameters(), strict=True)
        ]
    names = [name for name, _ in stage.inpainter.named_parameters()]
    published = stage.weights()["inpainter"]
    for name, mean in zip(names, expected, strict=True):
        assert torch.allclose(published[name], mean, atol=1e-6)
    assert any(not torch.equal(published[name], stage.inpainter.state_dict()[name]) for name in names)


def test_an_averaging_of_zero_publishes_the_last_weights() -> None:
    network = torch.nn.Linear(3, 2)
    averaged = Averaged(network, 0.0)
    with torch.no_grad():
        network.weight.add_(1)
    averaged.follow(network, 5)
    assert torch.equal(averaged.network.weight, network.weight)


@pytest.mark.parametrize("name", ["morphable", "segment", "inpaint"])
def test_the_memory_layout_changes_no_gradient(name: str) -> None:
    by_layout = []
    for channels_last in (False, True):
        gradients: list[torch.Tensor] = []
        stage = make_stage(name, keep=gradients, channels_last=channels_last)
        stage.train_step([make_batch(1)])
        by_layout.append(torch.cat([gradient.flatten() for gradient in gradients]))
    plain, last = by_layout
    assert float((plain - last).norm() / plain.norm()) < 1e-3


def test_compiled_bfloat16_is_refused_on_cpus() -> None:
    with pytest.raises(UserError, match="wrong gradients"):
        make_stage("segment", precision="bfloat16", compile=True)


def test_geometry_decides_how_the_inpainter_is_trained_but_not_how_it_is_measured() -> None:
    batch = make_batch(2)
    losses, metrics = {}, {}
    for geometry in ("fit", "encoder"):
        stage = make_stage("inpaint", geometry=geometry)
        metrics[geometry] = stage.evaluate(batch)
        losses[geometry] = stage.train_step([batch])
    assert losses["fit"]["loss/albedo"] != losses["encoder"]["loss/albedo"]
    assert metrics["fit"] == metrics["encoder"]
