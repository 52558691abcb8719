"""The chain: what is skipped, what is done again, and what a stopped run leaves."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_releases import write_celeba

from facefill.errors import UserError
from pipelines import storage, storage_faults
from pipelines.config import RunConfig
from pipelines.config_file import config_from_tree
from pipelines.progress import Progress
from pipelines.run_model import RunModel
from pipelines.steps import identity_of, plan, refuse_other_stages
from pipelines.workflow import Cluster, Outcome, Step, check_ahead, read_marker, run_workflow, walk

MODEL = RunModel("default", "head", "a" * 64)
OTHER_MODEL = RunModel("ict", "ict-facekit", "b" * 64, "memory://x/model/bbbb.npz")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(name="test", output=str(tmp_path / "run"))


def chain(log: list[str], digests: dict[str, str], fail: str = "") -> list[Step]:
    """a → b → c, of kinds shard, fit, train; each notes that it worked and hands on its digest."""

    def work_of(name: str) -> Callable[[dict[str, Outcome]], Outcome]:
        def work(_: dict[str, Outcome]) -> Outcome:
            if name == fail:
                raise KeyboardInterrupt
            log.append(name)
            return {"digest": digests[name]}

        return work

    return [
        Step("a", "shard", 1, (), work_of("a"), on_cluster=False),
        Step("b", "fit", 1, ("a",), work_of("b"), on_cluster=False),
        Step("c", "train", 1, ("b",), work_of("c"), on_cluster=False),
    ]


def run(steps: list[Step], config: RunConfig, only: str | None = None) -> dict[str, Any]:
    progress = Progress()
    with ExitStack() as stack:
        return walk(steps, config, only, Cluster(config, stack, progress), progress)


def test_what_is_valid_is_skipped_and_what_changed_is_done_again_with_what_follows(config: RunConfig) -> None:
    log: list[str] = []
    digests = {"a": "1", "b": "1", "c": "1"}
    run(chain(log, digests), config)
    assert log == ["a", "b", "c"]
    run(chain(log, digests), config)
    assert log == ["a", "b", "c"]

    storage.remove(storage.join(config.output, "steps", "a.json"))
    run(chain(log, digests), config)
    assert log[3:] == ["a"], "the same result again leaves what follows valid"

    storage.remove(storage.join(config.output, "steps", "a.json"))
    run(chain(log, digests | {"a": "2"}), config)
    assert log[4:] == ["a", "b"], "another result makes the step after it run again"


def test_a_stopped_run_goes_on_at_the_step_that_was_stopped(config: RunConfig) -> None:
    log: list[str] = []
    digests = {"a": "1", "b": "1", "c": "1"}
    with pytest.raises(KeyboardInterrupt):
        run(chain(log, digests, fail="b"), config)
    run(chain(log, digests), config)
    assert log == ["a", "b", "c"]


def test_one_kind_runs_alone_and_says_what_it_lacks(config: RunConfig) -> None:
    log: list[str] = []
    digests = {"a": "1", "b": "1", "c": "1"}
    with pytest.raises(UserError, match="a has not been done for this config: run `facefill shard`"):
        run(chain(log, digests), config, only="fit")
    run(chain(log, digests), config, only="shard")
    run(chain(log, digests), config, only="fit")
    assert log == ["a", "b"]


def test_a_stopped_run_with_other_settings_leaves_no_marker_of_the_old_ones(config: RunConfig) -> None:
    log: list[str] = []
    digests = {"a": "1", "b": "1", "c": "1"}
    run(chain(log, digests), config)
    other = [replace(step, settings=2) for step in chain(log, digests, fail="a")]
    with pytest.raises(KeyboardInterrupt):
        run(other, config)
    run(chain(log, digests), config)
    assert log[3:] == ["a"], "the stopped step may have replaced what the old marker vouched for"


def test_a_step_whose_product_is_gone_is_done_again(config: RunConfig) -> None:
    log: list[str] = []
    product = storage.join(config.output, "product.txt")

    def work(_: dict[str, Outcome]) -> Outcome:
        log.append("a")
        storage.write_text(product, "here")
        return {"digest": "1", "products": [product]}

    steps = [Step("a", "shard", 1, (), work, on_cluster=False)]
    run(steps, config)
    run(steps, config)
    storage.remove(product)
    run(steps, config)
    assert log == ["a", "a"]
    copy = replace(config, output=f"{config.output}_copy")
    shutil.copytree(config.output, copy.output)
    run(steps, copy)
    assert log == ["a", "a"]
    storage.remove(storage.join(copy.output, "product.txt"))  # the original's does not stand for it
    run(steps, copy)
    assert log == ["a", "a", "a"]


def test_everything_that_decides_a_stage_is_in_its_identity() -> None:
    tree = {
        "name": "x",
        "output": "memory://identity",
        "datasets": [{"name": "faces", "source": "celeba", "root": "/data"}],
        "stages": {
            "morphable": {"training": {"steps": 1, "data": ["faces"]}},
            "inpaint": {"training": {"steps": 1, "data": ["faces"]}},
        },
    }
    base = identity_of(config_from_tree(tree, "test"), "inpaint", MODEL)
    assert identity_of(config_from_tree(tree | {"seed": 7}, "test"), "inpaint", MODEL) != base
    assert identity_of(config_from_tree(tree, "test"), "inpaint", OTHER_MODEL) != base
    tree["stages"]["inpaint"]["training"]["batch_size"] = 3
    assert identity_of(config_from_tree(tree, "test"), "inpaint", MODEL) != base
    tree["stages"]["inpaint"]["training"]["batch_size"] = 28
    tree["stages"]["inpaint"]["model"] = {"width": 0.5}
    assert identity_of(config_from_tree(tree, "test"), "inpaint", MODEL) != base


def test_an_output_with_stages_of_other_settings_is_refused_before_anything_is_done() -> None:
    tree = {
        "name": "x",
        "output": "memory://refused",
        "datasets": [{"name": "faces", "source": "celeba", "root": "/data"}],
        "stages": {"morphable": {"training": {"steps": 1, "data": ["faces"]}}},
    }
    config = config_from_tree(tree, "test")
    identity = identity_of(config, "morphable", MODEL)
    job = {"seed": identity.pop("seed"), "batch_size": identity.pop("batch_size"), "config": identity}
    storage.write_text(
        "memory://refused/stages/morphable/job.json", json.dumps(job | {"model": asdict(MODEL)})
    )
    refuse_other_stages(config, MODEL)
    with pytest.raises(
        UserError, match=r"morphable_model was head \(aaaa.*, is ict-facekit \(bbbb.*another output"
    ):
        refuse_other_stages(config, OTHER_MODEL)
    with pytest.raises(UserError, match=r"another configuration \(seed was 0, is 7\).*another output"):
        refuse_other_stages(config_from_tree(tree | {"seed": 7}, "test"), MODEL)


def test_a_half_written_marker_is_none(config: RunConfig) -> None:
    log: list[str] = []
    digests = {"a": "1", "b": "1", "c": "1"}
    run(chain(log, digests), config)
    storage.write_text(storage.join(config.output, "steps", "c.json"), '{"inputs": "')
    run(chain(log, digests), config)
    assert log == ["a", "b", "c", "c"]


def test_an_outage_is_not_taken_for_a_step_that_was_not_done(monkeypatch) -> None:
    monkeypatch.setattr(storage_faults, "REMOTE_PATIENCE_S", 0.0)
    with pytest.raises(UserError, match="does not answer"):
        read_marker("http://127.0.0.1:1/a.json", "inputs")


def test_what_is_seen_to_be_wrong_is_said_before_any_step_but_not_of_valid_ones(
    config: RunConfig,
) -> None:
    asked: list[str] = []
    steps = [
        replace(step, check=partial(asked.append, step.name))
        for step in chain([], {"a": "1", "b": "1", "c": "1"})
    ]
    check_ahead(steps, config, None)
    assert asked == ["a", "b", "c"]
    run(steps, config, only="shard")
    check_ahead(steps, config, None)
    assert asked[3:] == ["b", "c"]
    check_ahead(steps, config, "train")
    assert asked[5:] == ["c"]


def test_the_second_datasets_mistake_is_found_before_the_first_is_begun(tmp_path: Path) -> None:
    tree = {
        "name": "x",
        "output": str(tmp_path / "run"),
        "datasets": [
            {"name": "first", "source": "celeba", "root": str(write_celeba(tmp_path / "celeba", 2))},
            {"name": "second", "source": "folder", "root": str(tmp_path / "photos")},
        ],
    }
    for verb in (None, "shard"):
        with pytest.raises(UserError, match=r"dataset second: root: .*photos is not there"):
            run_workflow(config_from_tree(tree, "test"), verb)
    assert not (tmp_path / "run/config.yaml").exists()


def test_the_plan_is_the_chain_of_the_design() -> None:
    tree = {
        "name": "x",
        "output": "memory://x",
        "synthesis": {"celeba": 8, "celebamask_hq": 4},
        "datasets": [
            {"name": "faces", "source": "celeba"},
            {"name": "labels", "source": "celebamask_hq", "fit": False},
        ],
        "stages": {
            "morphable": {"training": {"steps": 1, "data": ["faces"]}},
            "segment": {"training": {"steps": 1, "data": ["labels"]}},
            "inpaint": {"training": {"steps": 1, "data": ["faces"]}},
        },
        "sweep": {"trials": 2, "space": {"loss_weights.symmetry": [0, 1]}},
        "evaluate": {"data": ["faces"]},
    }
    steps = plan(config_from_tree(tree, "test"), MODEL, Progress())
    assert [step.name for step in steps] == [
        "synthesize",
        "shard faces",
        "fit faces",
        "project faces",
        "shard labels",
        "train morphable",
        "train segment",
        "train inpaint",
        "sweep",
        "evaluate",
    ]
    needs = {step.name: step.needs for step in steps}
    assert needs["train segment"] == ("shard labels",)
    assert needs["train inpaint"] == ("project faces", "train morphable")
    assert needs["evaluate"] == (
        "project faces",
        "train morphable",
        "train segment",
        "train inpaint",
        "sweep",
    )
