"""YAML in, checked settings out: an unknown key or a wrong value is refused with its dotted path.

A file holds only what differs from the defaults. `key=value` on the command line and the keys of a sweep
are the same dotted paths.
"""

import dataclasses
import difflib
import itertools
import re
import typing
from pathlib import Path
from typing import Any

import yaml

from facefill.augmentation import CENTRE
from facefill.config import STAGES, InpaintConfig, MorphableConfig
from facefill.errors import UserError
from pipelines.config import RunConfig
from pipelines.sources.table import SOURCES

PACKAGED = Path(__file__).parent / "configs"


def load_config(source: str, overrides: list[str]) -> RunConfig:
    """The config of a YAML file or of a packaged name (`demo`), with `key.path=value` overrides applied.

    Raises UserError for a missing file, broken YAML, an unknown key (with its dotted path) and a wrong value.
    """
    tree = read_yaml(source)
    for override in overrides:
        apply_override(tree, override)
    return config_from_tree(tree, source)


def read_yaml(source: str) -> dict[str, Any]:
    """The mapping in a YAML file, or in the packaged config of that name."""
    path = Path(source)
    if not path.suffix and not path.exists():
        path = PACKAGED / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PACKAGED.glob("*.yaml")))
        raise UserError(
            f"config {source}: no such file; give a YAML file or one of the packaged names: {known}"
        )
    try:
        tree = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config {source}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"config {source}: expected a mapping of settings, got {type(tree).__name__}")
    return tree


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one `dotted.path=value` in the tree; a list item is addressed by its number."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise UserError(f"setting {override!r}: write it as key.path=value")
    node: Any = tree
    parts = path.split(".")
    for part, following in itertools.pairwise(parts):
        if isinstance(node, list):
            node = node[list_index(node, part, path)]
        else:
            node = node.setdefault(part, [] if following.isdigit() else {})
        if not isinstance(node, dict | list):
            raise UserError(f"setting {path}: {part} is a value, not a group of settings")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        raise UserError(f"setting {path}: {text!r} is no value; quote it or close its brackets") from None
    if isinstance(node, list):
        node[list_index(node, parts[-1], path)] = value
    else:
        node[parts[-1]] = value


def list_index(items: list[Any], part: str, path: str) -> int:
    """Position in a list setting, refused when it is none of its items."""
    if not part.isdigit() or int(part) >= len(items):
        raise UserError(
            f"setting {path}: {part!r} is none of the {len(items)} items, which are numbered from 0"
        )
    return int(part)


def config_from_tree(tree: dict[str, Any], source: str) -> RunConfig:
    """Check the tree against the dataclasses; the first faults are named by their dotted path."""
    from pydantic import TypeAdapter, ValidationError

    check_keys(tree, RunConfig, "", source)
    try:
        config = TypeAdapter(RunConfig).validate_python(with_group_defaults(tree, RunConfig))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()[:3]
        )
        raise UserError(f"config {source}: {faults}") from None
    check_references(config, source)
    check_storage(config, source)
    check_model(config, source)
    check_stages(config, source)
    check_numbers(config, source)
    return config


def check_keys(tree: Any, kind: Any, path: str, source: str) -> None:
    """Refuse keys that no setting has, at any depth, and say which one may have been meant."""
    if typing.get_origin(kind) is tuple and isinstance(tree, list):
        for position, item in enumerate(tree):
            check_keys(item, typing.get_args(kind)[0], f"{path}{position}.", source)
    if not dataclasses.is_dataclass(kind) or not isinstance(tree, dict):
        return
    kinds = typing.get_type_hints(kind)
    for key, value in tree.items():
        if key not in kinds:
            near = difflib.get_close_matches(str(key), kinds, 1)
            remedy = f"did you mean {near[0]}?" if near else f"known here: {', '.join(kinds)}"
            raise UserError(f"config {source}: unknown key {path}{key}; {remedy}")
        check_keys(value, kinds[key], f"{path}{key}.", source)


def with_group_defaults(tree: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The tree with the defaults of each group that it sets only a part of.

    A group's defaults are those of its place: fine-tuning's loss weights are not those of `MorphableConfig`.
    """
    kinds = typing.get_type_hints(kind)
    out = dict(tree)
    for member in dataclasses.fields(kind):
        value = tree.get(member.name)
        if not isinstance(value, dict) or not dataclasses.is_dataclass(kinds[member.name]):
            continue
        if member.default_factory is not dataclasses.MISSING:
            value = merged(dataclasses.asdict(member.default_factory()), value)
        out[member.name] = with_group_defaults(value, kinds[member.name])
    return out


def merged(defaults: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """`tree` laid over `defaults`, group by group."""
    out = dict(defaults)
    for key, value in tree.items():
        both = isinstance(value, dict) and isinstance(defaults.get(key), dict) and key != "space"
        out[key] = merged(defaults[key], value) if both else value
    return out


def check_references(config: RunConfig, source: str) -> None:
    """Names of datasets must be unique, and every list of data must name datasets of this config."""
    names = [dataset.name for dataset in config.datasets]
    if len(set(names)) != len(names):
        raise UserError(f"config {source}: datasets: two share a name; names are folders, give each its own")
    uses = {f"stages.{stage}.training.data": getattr(config.stages, stage).training.data for stage in STAGES}
    uses["evaluate.data"] = config.evaluate.data
    for path, used in uses.items():
        for name in used:
            if name not in names:
                raise UserError(
                    f"config {source}: {path}: no dataset {name!r}; datasets are {', '.join(names) or 'none'}"
                )
    for place, dataset in enumerate(config.datasets):
        if dataset.source not in SOURCES:
            raise UserError(
                f"config {source}: datasets.{place}.source is {dataset.source!r}; expected one of "
                f"{', '.join(SOURCES)}"
            )
        kind = dataset.source.removesuffix("_aligned")
        if not dataset.root and not hasattr(config.synthesis, kind):
            raise UserError(f"config {source}: datasets: {dataset.name} has no root; set its folder or URL")
        if not dataset.root and not getattr(config.synthesis, kind):
            raise UserError(
                f"config {source}: datasets: {dataset.name} has no root and synthesis.{kind} is 0; "
                f"set the folder of the released dataset or a number of pictures to render"
            )
        if dataset.encoder and (dataset.ground_truth or not dataset.fit):
            other = "ground_truth" if dataset.fit else "fit: false"
            raise UserError(
                f"config {source}: datasets.{place}: encoder makes the fits, which {other} excludes; leave "
                "one of them out"
            )


def check_storage(config: RunConfig, source: str) -> None:
    """Keys come from one place, and no setting is secret, for settings are stored with the results."""
    settings = config.storage
    variables = {
        name: getattr(settings, name)
        for name in ("access_key_variable", "secret_key_variable", "session_token_variable")
    }
    for name, variable in variables.items():
        if variable and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
            raise UserError(
                f"config {source}: storage.{name} is no name of an environment variable; put the key into a "
                "variable and name that"
            )
    if bool(settings.access_key_variable) != bool(settings.secret_key_variable):
        raise UserError(
            f"config {source}: storage.access_key_variable and storage.secret_key_variable belong together; "
            "set both or none"
        )
    if bool(settings.profile) + settings.anonymous + any(variables.values()) > 1:
        raise UserError(
            f"config {source}: storage: anonymous, profile and the variables of keys exclude each other; "
            "leave one of them"
        )
    endpoint = settings.endpoint_url
    if endpoint and not re.fullmatch(r"https?://[^@\s]+", endpoint):
        raise UserError(
            f"config {source}: storage.endpoint_url must be http://... or https://... without a name or "
            "password in it"
        )
    urls = {"output": config.output, "model.path": config.model.path}
    urls |= {f"datasets.{place}.root": dataset.root for place, dataset in enumerate(config.datasets)}
    for name, url in urls.items():
        if re.match(r"[a-z0-9]+://[^/@]*:[^/@]*@", url):
            raise UserError(
                f"config {source}: {name} has a password in it, and settings are stored with the results; "
                "take it out (for s3:// see `storage`)"
            )


def check_model(config: RunConfig, source: str) -> None:
    """The default model has no files, every other kind has."""
    model = config.model
    if model.kind == "default" and (model.path or model.landmarks):
        raise UserError(
            f"config {source}: model.path and model.landmarks belong to another model.kind than default; "
            "name that kind"
        )
    if model.kind != "default" and not model.path:
        raise UserError(
            f"config {source}: model.kind is {model.kind}: set model.path to its files (facefill models says "
            "which)"
        )


def check_stages(config: RunConfig, source: str) -> None:
    """A stage needs its parent, data of its kind, and its parent's width."""
    stages = config.stages
    fitted = {dataset.name for dataset in config.datasets if dataset.fit}
    for stage in STAGES:
        data = getattr(stages, stage).training.data
        unfitted = sorted(set(data) - fitted)
        if unfitted and stage != "segment":
            raise UserError(
                f"config {source}: stages.{stage}.training.data: {unfitted[0]} is not fitted (datasets: fit: "
                "false) and this stage needs fits; name fitted datasets"
            )
        if data and stage in ("morphable_finetune", "inpaint") and not stages.morphable.training.data:
            raise UserError(
                f"config {source}: stage {stage} starts from stage morphable, which has no data; set "
                "stages.morphable.training.data"
            )
    if set(config.evaluate.data) - fitted:
        raise UserError(f"config {source}: evaluate.data: name fitted datasets: {', '.join(sorted(fitted))}")
    encoder = stages.morphable.model
    finetuned = stages.morphable_finetune.model
    for path, value, name, data in (
        ("morphable_finetune.model.width", finetuned.width, "width", "morphable_finetune"),
        ("morphable_finetune.model.located", finetuned.located, "located", "morphable_finetune"),
        ("inpaint.model.encoder_width", stages.inpaint.model.encoder_width, "width", "inpaint"),
    ):
        if getattr(stages, data).training.data and value != getattr(encoder, name):
            raise UserError(
                f"config {source}: stages.{path} is {value}, the encoder's {name} is "
                f"stages.morphable.model.{name} = {getattr(encoder, name)}; make them equal"
            )


def check_numbers(config: RunConfig, source: str) -> None:
    """Numbers that would only fail, or silently do nothing, hours later."""
    stages = config.stages
    least: dict[str, tuple[float, float, float | None]] = {
        "shard.samples_per_shard": (config.shard.samples_per_shard, 1, None),
        "synthesis.pictures_per_identity": (config.synthesis.pictures_per_identity, 1, None),
        "evaluate.images": (config.evaluate.images, 1, None),
        "sweep.trials": (config.sweep.trials, 0, None),
        "sweep.steps": (config.sweep.steps, 1, None),
    }
    for stage in STAGES:
        settings = getattr(stages, stage)
        model, optimizer = settings.model, settings.model.optimizer
        least[f"stages.{stage}.model.width"] = (model.width, 1 / 32, None)
        least[f"stages.{stage}.model.jitter"] = (model.jitter, 0, CENTRE)
        least[f"stages.{stage}.model.optimizer.learning_rate"] = (optimizer.learning_rate, 0, None)
        least[f"stages.{stage}.model.optimizer.decay"] = (optimizer.decay, 0, 1)
        least[f"stages.{stage}.model.optimizer.decay_every"] = (optimizer.decay_every, 1, None)
        least[f"stages.{stage}.model.optimizer.beta1"] = (optimizer.beta1, 0, 1 - 1e-6)
        least[f"stages.{stage}.model.optimizer.beta2"] = (optimizer.beta2, 0, 1 - 1e-6)
        least[f"stages.{stage}.training.steps"] = (settings.training.steps, 0, None)
        least[f"stages.{stage}.training.batch_size"] = (settings.training.batch_size, 1, None)
        if isinstance(model, MorphableConfig):
            least[f"stages.{stage}.model.drawn"] = (model.drawn, 1e-3, 1)
            least[f"stages.{stage}.model.occlusion"] = (model.occlusion, 0, 1)
        if isinstance(model, InpaintConfig):
            least[f"stages.{stage}.model.averaging"] = (model.averaging, 0, 1 - 1e-9)
        if model.compile and model.precision == "bfloat16" and not settings.training.gpu:
            raise UserError(
                f"config {source}: stages.{stage}.model: compile with precision bfloat16 gives wrong "
                "gradients on CPUs; set one of them back, or training.gpu"
            )
    for place, dataset in enumerate(config.datasets):
        least[f"datasets.{place}.limit"] = (1 if dataset.limit is None else dataset.limit, 1, None)
        least[f"datasets.{place}.held_out"] = (dataset.held_out, 0, 0.5)
    for path, (value, low, high) in least.items():
        if value < low or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"config {source}: {path} is {value}; it must be {limits}")
    for stage in ("morphable", "morphable_finetune"):
        if not any(dataclasses.asdict(getattr(stages, stage).model.loss_weights).values()):
            raise UserError(
                f"config {source}: stages.{stage}.model.loss_weights are all 0; leave at least one of them"
            )
    weights = stages.inpaint.model.loss_weights
    if not (weights.albedo or weights.symmetry or weights.image):
        raise UserError(
            f"config {source}: stages.inpaint.model.loss_weights: albedo, symmetry and image are all 0; "
            "leave at least one of them"
        )
