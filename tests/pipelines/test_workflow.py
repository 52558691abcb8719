"""The chain: what is skipped, what is done again, and what a stopped run leaves."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from facefill.errors import UserError
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config_file import config_from_tree
from pipelines.progress import Progress
from pipelines.steps import plan
from pipelines.workflow import Cluster, Outcome, Step, walk


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


def test_a_half_written_marker_is_none(config: RunConfig) -> None:
    log: list[str] = []
    digests = {"a": "1", "b": "1", "c": "1"}
    run(chain(log, digests), config)
    storage.write_text(storage.join(config.output, "steps", "c.json"), '{"inputs": "')
    run(chain(log, digests), config)
    assert log == ["a", "b", "c", "c"]


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
    steps = plan(config_from_tree(tree, "test"), Progress())
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
