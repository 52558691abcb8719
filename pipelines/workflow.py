"""Walk the whole chain: synthesize, shard, fit, project, train, sweep, evaluate, and skip what is valid.

A step is valid if its marker `steps/{name}.json` was written for exactly these inputs (its own settings, the
versions of what it writes, the digests of the steps it needs) and its products are there. The marker is
removed before the work and written last: a killed step is run again, and goes on from what it had published.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from facefill.errors import UserError
from pipelines import storage, storage_settings
from pipelines.cluster_session import session
from pipelines.config import RunConfig, config_tree, digest
from pipelines.overheard import overheard
from pipelines.progress import Progress, clock

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One arrow of the chain.

    settings: plain data that decide the result. needs: names of earlier steps whose outcomes go in. work
    gets those outcomes by name and returns its own: a `digest` of what it made, `products` (URLs that must
    still be there for the step to be valid) and a `summary` for the user. check: raises UserError for what
    can be seen to be wrong before any step is done.
    """

    name: str
    kind: str
    settings: Any
    needs: tuple[str, ...]
    work: Callable[[dict[str, Outcome]], Outcome]
    on_cluster: bool = True
    check: Callable[[], None] | None = None


class Cluster:
    """The Ray session of a run, begun when the first step needs it."""

    def __init__(self, config: RunConfig, stack: contextlib.ExitStack, progress: Progress) -> None:
        self._config, self._stack, self._progress = config.cluster, stack, progress
        self._begun = False

    def begin(self) -> None:
        """Join or start the cluster once."""
        if not self._begun:
            self._begun = True
            joined = self._stack.enter_context(session(self._config.address, self._config.num_cpus))
            where = "private" if joined.private else "joined"
            self._progress.say(
                f"Ray cluster ({where}): {joined.cpus} CPUs, {joined.gpus} GPUs, {joined.dashboard}"
            )


def run_workflow(config: RunConfig, only: str | None = None) -> None:
    """Walk all steps of the config, or those of one kind; prints where the report is.

    Raises UserError for anything the user can mend, among it a kind whose inputs are not there yet.
    """
    from pipelines.run_model import publish_model
    from pipelines.steps import plan, refuse_other_stages
    from pipelines.tracking import send_what_is_missing

    storage_settings.use(config.storage)
    config = located(config)
    progress = Progress()
    model = publish_model(config.model, config.output)
    if config.model.kind != "default":
        progress.say(f"morphable model: {model}")
    steps = plan(config, model, progress)
    if only and not any(step.kind == only for step in steps):
        raise UserError(
            f"config {config.name} has no step of kind {only}; its steps: {', '.join(s.name for s in steps)}"
        )
    if only in (None, "train"):
        refuse_other_stages(config, model)
    check_ahead(steps, config, only)
    write_resolved(config)
    send_what_is_missing(config.output)
    started = time.monotonic()
    with contextlib.ExitStack() as stack, overheard(progress.say):
        walk(steps, config, only, Cluster(config, stack, progress), progress)
    send_what_is_missing(config.output)
    progress.say(f"{config.name}: done in {clock(time.monotonic() - started)}")
    report = storage.join(config.output, "evaluation", "report.html")
    if storage.exists(report):
        path = storage.local_path(report)
        print(f"report: {path.absolute() if path else report}", file=sys.stdout, flush=True)


def located(config: RunConfig) -> RunConfig:
    """The config with its paths made absolute, so that workers in any folder find them."""

    def absolute(url: str) -> str:
        return url if not url or "://" in url else str(Path(url).expanduser().absolute())

    datasets = tuple(replace(d, root=absolute(d.root), encoder=absolute(d.encoder)) for d in config.datasets)
    model = replace(
        config.model, path=absolute(config.model.path), landmarks=absolute(config.model.landmarks)
    )
    return replace(config, output=absolute(config.output), datasets=datasets, model=model)


def walk(
    steps: Sequence[Step], config: RunConfig, only: str | None, cluster: Cluster, progress: Progress
) -> dict[str, Outcome]:
    """Do every step that is wanted and not valid; returns the outcomes by name."""
    outcomes: dict[str, Outcome] = {}
    for number, step in enumerate(steps, 1):
        if only and not (step.kind == only or needed_by(step, steps, only)):
            continue
        marker, inputs = marker_of(step, config), inputs_digest(step, outcomes)
        if (valid := standing(marker, inputs, config.output)) is not None:
            progress.say(f"[{number}/{len(steps)}] {step.name}: valid, skipped")
            outcomes[step.name] = valid
            continue
        if only and step.kind != only:
            raise UserError(
                f"{step.name} has not been done for this config: run `facefill {step.kind}` first"
            )
        progress.say(f"[{number}/{len(steps)}] {step.name}")
        if step.on_cluster:
            cluster.begin()
        storage.remove(marker)  # the work may replace what an older marker of other settings vouches for
        began = time.monotonic()
        outcome = step.work(outcomes)
        products = [inside(url, config.output) for url in outcome.get("products", ())]
        seconds = time.monotonic() - began
        record = {"inputs": inputs, "seconds": round(seconds, 1), "outcome": outcome | {"products": products}}
        storage.write_text(marker, json.dumps(record, indent=1))
        outcomes[step.name] = outcome
        progress.say(
            f"[{number}/{len(steps)}] {step.name}: {outcome.get('summary', 'done')} in {clock(seconds)}"
        )
    return outcomes


def needed_by(step: Step, steps: Sequence[Step], kind: str) -> bool:
    """Whether a step of that kind needs this one, directly or through others."""
    by_name = {other.name: other for other in steps}
    waiting = [name for other in steps if other.kind == kind for name in other.needs]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(by_name[name].needs)
    return step.name in seen


def check_ahead(steps: Sequence[Step], config: RunConfig, only: str | None) -> None:
    """The checks of all steps that are about to be done; nothing is asked of those that are valid."""
    outcomes: dict[str, Outcome] = {}
    for step in steps:
        known = all(name in outcomes for name in step.needs)
        valid = (
            standing(marker_of(step, config), inputs_digest(step, outcomes), config.output) if known else None
        )
        if valid is not None:
            outcomes[step.name] = valid
        elif step.check is not None and only in (None, step.kind):
            step.check()


def marker_of(step: Step, config: RunConfig) -> str:
    """The URL of a step's marker."""
    return storage.join(config.output, "steps", f"{step.name.replace(' ', '-')}.json")


def inputs_digest(step: Step, outcomes: Mapping[str, Outcome]) -> str:
    """What a step's marker must have been written for."""
    return digest(step.settings, [outcomes[name]["digest"] for name in step.needs])


def standing(marker: str, inputs: str, output: str) -> Outcome | None:
    """The outcome of a step that need not be done again, else None."""
    valid = read_marker(marker, inputs)
    if valid is None:
        return None
    products = (storage.join(output, inside(url, output)) for url in valid.get("products", ()))
    return valid if all(storage.exists(url) for url in products) else None


def inside(url: str, output: str) -> str:
    """A product's path in the output, so that markers of a copied output speak of the copy."""
    return url.removeprefix(f"{output.rstrip('/')}/")


def read_marker(url: str, inputs: str) -> Outcome | None:
    """The outcome of a step done for exactly these inputs, else None."""
    try:
        text = storage.read_bytes(url)
    except FileNotFoundError:
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record["outcome"] if record.get("inputs") == inputs else None


def step_seconds(output: str) -> Iterator[tuple[str, float]]:
    """(step, seconds) of all steps that were done, for the report."""
    for url in storage.list_files(storage.join(output, "steps"), ".json"):
        yield Path(storage.name_of(url)).stem, json.loads(storage.read_bytes(url))["seconds"]


def write_resolved(config: RunConfig) -> None:
    """The config with all its defaults, beside the results."""
    text = yaml.safe_dump(config_tree(config), sort_keys=False, allow_unicode=True)
    storage.write_text(storage.join(config.output, "config.yaml"), text)
