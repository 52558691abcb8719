"""Settings: what is accepted, and how every mistake is answered."""

import os
from pathlib import Path

import pytest
import yaml

from facefill.errors import UserError
from pipelines import storage_settings
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
        ("stages.morphable.model.drawn=0", "drawn is 0.0; it must be between 0.001 and 1"),
        ("stages.morphable.model.occlusion=7", "occlusion is 7.0; it must be between 0 and 1"),
        ("stages.segment.model.width=-1", "segment.model.width is -1.0; it must be at least"),
        ("stages.segment.model.optimizer.decay_every=0", "decay_every is 0; it must be at least 1"),
        ("stages.segment.model.optimizer.learning_rate=-1", "learning_rate is -1.0; it must be at least 0"),
        ("stages.inpaint.model.averaging=1.5", "averaging is 1.5; it must be between 0 and"),
        (
            "stages.inpaint.model={compile: true, precision: bfloat16}",
            "inpaint.model: compile with precision bfloat16 gives wrong",
        ),
        (
            "stages.morphable_finetune={training: {data: [faces], steps: 5}, model: {located: false}}",
            "finetune.model.located is False, the encoder's located is stages.morphable.model.located = True",
        ),
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
    datasets = yaml.safe_load(path.read_text())["datasets"]
    lacking = [number for number, dataset in enumerate(datasets) if dataset.get("root") == ""]
    overrides = [f"datasets.{number}.root=/data/{number}" for number in lacking]
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["access_key_variable=A"], "belong together"),
        (["profile=team", "anonymous=true"], "exclude each other"),
        (["profile=team", "access_key_variable=A", "secret_key_variable=B"], "exclude each other"),
        (["endpoint_url=localhost:9000"], "must be http"),
        (["endpoint_url=http://me:hidden@host"], "without a name or password"),
        (
            ["access_key_variable=A", "secret_key_variable=hidden/+=="],
            "is no name of an environment variable",
        ),
        (["secret_key=hidden"], "unknown key storage.secret_key; did you mean secret_key_variable"),
    ],
)
def test_storage_settings_that_contradict_or_hold_secrets_are_refused(
    file: str, settings: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(file, [f"storage.{setting}" for setting in settings])
    assert "hidden" not in str(caught.value)


def test_a_password_in_a_url_is_refused(file: str) -> None:
    with pytest.raises(UserError, match=r"datasets\.0\.root has a password in it") as caught:
        load_config(file, ["datasets.0.root=sftp://me:hidden@host/celeba"])
    assert "hidden" not in str(caught.value)


def test_storage_names_variables_that_must_be_set(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEFILL_STORAGE", "")  # put back afterwards
    monkeypatch.setenv("TEAM_KEY", "an id")
    variables = ["storage.access_key_variable=TEAM_KEY", "storage.secret_key_variable=TEAM_SECRET"]
    config = load_config(file, [*variables, "storage.endpoint_url=http://store:9000"])
    with pytest.raises(UserError, match=r"storage\.secret_key_variable: .* is not set on"):
        storage_settings.use(config.storage)
    monkeypatch.setenv("TEAM_SECRET", "hidden")
    storage_settings.use(config.storage)
    options = storage_settings.s3_options()
    assert (options["key"], options["secret"]) == ("an id", "hidden")
    assert options["endpoint_url"] == "http://store:9000"
    assert "hidden" not in yaml.safe_dump(config_tree(config)) + os.environ["FACEFILL_STORAGE"]


def test_without_settings_the_standard_environment_decides(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEFILL_STORAGE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://standard")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    storage_settings.use(load_config(file, []).storage)
    assert "FACEFILL_STORAGE" not in os.environ
    options = storage_settings.s3_options()
    assert options["endpoint_url"] == "http://standard"
    assert options["client_kwargs"] == {"region_name": "eu-west-3"} and "key" not in options


def test_the_default_model_needs_no_setting(file: str) -> None:
    assert load_config(file, []).model.kind == "default"
    named = load_config(file, ["model.kind=statismo", "model.path=b.h5", "model.landmarks=b.txt"]).model
    assert (named.kind, named.path, named.landmarks) == ("statismo", "b.h5", "b.txt")
