"""Settings: what is accepted, and how every mistake is answered."""

from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines.config import RunConfig, config_tree, digest
from pipelines.config_file import PACKAGED, config_from_tree, load_config

MINIMAL = """
name: small
output: runs/small
datasets:
  - {name: faces, source: celeba, root: /data/celeba}
  - {name: labels, source: celebamask_hq, root: /data/hq, fit: false}
stages:
  morphable: {training: {data: [faces]}}
  inpaint: {training: {steps: 7, data: [faces]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(MINIMAL)
    return str(path)


def test_a_file_holds_only_what_differs_from_the_paper(file: str) -> None:
    config = load_config(file, [])
    assert config.stages.inpaint.training.steps == 7
    assert config.stages.inpaint.model.loss_weights.gradient_penalty == 10
    assert config.stages.morphable.training.steps == 100_000
    assert config.stages.morphable_finetune.model.optimizer.learning_rate == pytest.approx(1e-5)
    assert config.stages.morphable_finetune.model.loss_weights.shape == 0


def test_a_group_that_is_set_in_part_keeps_the_defaults_of_its_place(file: str) -> None:
    config = load_config(
        file, ["stages.morphable_finetune.model.width=0.5", "stages.inpaint.training.batch_size=4"]
    )
    finetune = config.stages.morphable_finetune.model
    assert finetune.width == 0.5
    assert finetune.loss_weights.shape == 0
    assert finetune.optimizer.learning_rate == pytest.approx(1e-5)
    assert config.stages.morphable_finetune.training.steps == 30_000
    assert config.stages.inpaint.training.steps == 7


def test_overrides_are_dotted_paths_into_groups_and_lists(file: str) -> None:
    config = load_config(
        file,
        ["datasets.0.root=s3://bucket/celeba", "stages.inpaint.model.loss_weights.symmetry=0.5", "seed=3"],
    )
    assert config.datasets[0].root == "s3://bucket/celeba"
    assert config.stages.inpaint.model.loss_weights.symmetry == 0.5
    assert config.seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.inpaint.model.widht=1", "unknown key stages.inpaint.model.widht; did you mean width"),
        ("datasets.0.sorce=x", "unknown key datasets.0.sorce; did you mean source"),
        ("stages.inpaint.training.steps=many", "stages.inpaint.training.steps"),
        ("evaluate.data=[nobody]", "evaluate.data: no dataset 'nobody'; datasets are faces, labels"),
        ("datasets.0.root=", "datasets: faces has no root"),
        ("datasets.2.root=x", "'2' is none of the 2 items"),
        ("evaluate.data=[a", "is no value"),
        ("evaluate.data=[labels]", "evaluate.data: name fitted datasets: faces"),
        ("stages.inpaint.training.data=[labels]", "labels is not fitted"),
        ("stages.morphable.training.data=[]", "stage inpaint starts from stage morphable"),
        ("shard.samples_per_shard=0", "shard.samples_per_shard is 0; it must be at least 1"),
        ("stages.inpaint.model.jitter=40", "jitter is 40; it must be between 0 and 16"),
        ("evaluate.images=-3", "evaluate.images is -3"),
        ("datasets.0.limit=-2", "datasets.0.limit is -2"),
        (
            "stages.inpaint.model.loss_weights={albedo: 0, symmetry: 0, image: 0}",
            "albedo, symmetry and image are all 0",
        ),
        ("name.first=x", "name is a value"),
        (
            "stages.inpaint.model.encoder_width=0.5",
            "encoder_width is 0.5, the encoder's width is stages.morphable",
        ),
        ("seed", "write it as key.path=value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(file: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        load_config(file, [override])


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config nowhere: no such file.*demo"):
        load_config("nowhere", [])
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(str(broken), [])
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(str(broken), [])
    broken.write_text("- a\n- b\n")
    with pytest.raises(UserError, match="expected a mapping"):
        load_config(str(broken), [])


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_packaged_config_is_valid_and_round_trips(path: Path) -> None:
    overrides = ["datasets.0.root=/data/celeba"] if "sample" in path.stem else []
    config = load_config(str(path), overrides)
    assert isinstance(config, RunConfig)
    assert config_from_tree(config_tree(config), "copy") == config
    assert digest(config) == digest(config_from_tree(config_tree(config), "copy"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.kind=ict"], "model.kind is ict: set model.path"),
        (["model.path=somewhere"], "belong to another model.kind than default"),
        (["model.kind=sculpture"], "model.kind"),
        (["model.kin=ict"], "did you mean kind"),
    ],
)
def test_a_model_is_named_with_its_files(file: str, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(file, settings)


def test_the_default_model_needs_no_setting(file: str) -> None:
    assert load_config(file, []).model.kind == "default"
    named = load_config(file, ["model.kind=statismo", "model.path=b.h5", "model.landmarks=b.txt"]).model
    assert (named.kind, named.path, named.landmarks) == ("statismo", "b.h5", "b.txt")
