"""Run one function over many items on Ray: bounded in flight, results in item order, with progress.

The only file that starts Ray tasks and actors. What dies with its node or process is run again; an exception
that the function raises is not retried, it ends the job. Functions must be importable on the workers (module
level), items must pickle.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from facefill.errors import UserError
from pipelines.board import warn_driver, warnings_heard
from pipelines.overheard import overheard

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int, float], None]  # done, total, seconds left

log = logging.getLogger(__name__)
MAX_RETRIES = 3
LOOK_EVERY_S = 0.5
ACTORS_PER_GPU = 4
WATCH = "watch"  # the actors' thread that answers while another one works


def run_tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    label: str,
    weights: Sequence[int] | None = None,
    on_progress: Progress | None = None,
    workers: int | None = None,
) -> list[Result]:
    """The function's result for every item, in the items' order.

    workers=0 runs in this process, for tests and tiny jobs; otherwise an initialised Ray session is needed
    and at most `workers` tasks (None: twice the cluster's CPUs) wait or run at a time, each on one CPU.
    `label` names the tasks in Ray's dashboard; `weights` are what items count for in the progress, 1 each if
    not given. On an exception or Ctrl-C what is in flight is cancelled. Raises UserError where a worker dies
    each time.
    """
    count = _Count(weights or [1] * len(items), on_progress)
    if workers == 0:
        return _here(function, items, count)
    import ray

    task: Any = ray.remote(_call).options(name=label, num_cpus=1, max_retries=MAX_RETRIES)
    limit = workers or max(2, 2 * _cpus())
    shared = ray.put(function)
    results: dict[int, Any] = {}
    place_of: dict[Any, int] = {}
    looked = time.monotonic()
    try:
        while len(results) < len(items):
            while len(place_of) < limit and (place := len(results) + len(place_of)) < len(items):
                place_of[task.remote(shared, items[place])] = place
            finished, _ = ray.wait(list(place_of), num_returns=1, timeout=LOOK_EVERY_S)
            for reference in finished:
                results[place_of[reference]] = _result_of(reference, label)
                count.finish(place_of.pop(reference))
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                _hear(label)
    finally:
        for reference in place_of:
            ray.cancel(reference, force=False)
        _hear(label)
    return [results[place] for place in range(len(items))]


def run_actors(
    build: Callable[[], Callable[[Item], Result]],
    items: Sequence[Item],
    *,
    label: str,
    weights: Sequence[int] | None = None,
    on_progress: Progress | None = None,
    workers: int | None = None,
    gpu: bool = False,
) -> list[Result]:
    """Like `run_tasks`, for a function that is costly to build or long at work.

    `build` is called once per worker process. There are at most `workers` of them (None: one per CPU of the
    cluster), each has one item in hand, and they end with the job, so what they held is free again. One that
    dies is started again however often that happens, and its item is done again, up to `MAX_RETRIES` times.
    What the function tells `advance` is in the progress before the item is done. gpu: each takes a share of a
    GPU where the cluster has one; `has_gpu` tells the function.
    """
    count = _Count(weights or [1] * len(items), on_progress)
    if workers == 0 or not items:
        return _here(build(), items, count) if items else []
    number, share = _shares(min(workers or _cpus(), len(items)), _resource("GPU") if gpu else 0)
    pool = _Pool(build, label, number, share)
    try:
        return pool.run(items, count)
    finally:
        pool.close()


def advance(units: int) -> None:
    """Called by a function at work: so many units of its item are behind it."""
    _AT_WORK.units += units
    if _AT_WORK.say is not None:
        _AT_WORK.say(_AT_WORK.place, _AT_WORK.units)


def has_gpu() -> bool:
    """Whether the worker process that asks was given a share of a GPU; never outside a worker."""
    return _AT_WORK.gpu


def _here(function: Callable[[Item], Result], items: Sequence[Item], count: "_Count") -> list[Result]:
    results: list[Result] = []
    _AT_WORK.say = count.advance
    try:
        for place, item in enumerate(items):
            _AT_WORK.place, _AT_WORK.units = place, 0
            results.append(function(item))
            count.finish(place)
    finally:
        _AT_WORK.say = None
    return results


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    with overheard(warn_driver):
        return function(item)


def _hear(label: str) -> None:
    """Log here what workers have warned of."""
    for text in warnings_heard():
        log.warning("%s: %s", label, text)


def _cpus() -> int:
    return max(1, int(_resource("CPU")))


def _resource(name: str) -> float:
    """How much of it the cluster has; a session must be there."""
    import ray

    if not ray.is_initialized():
        raise RuntimeError(
            "no Ray session: start one with pipelines.cluster_session first, or pass workers=0"
        )
    return ray.cluster_resources().get(name, 0)


def _shares(number: int, gpus: float) -> tuple[int, float]:
    """How many actors, and the share of a GPU that each takes."""
    if gpus < 1:
        return number, 0.0
    number = min(number, int(gpus) * ACTORS_PER_GPU)
    return number, 1 / math.ceil(number / int(gpus))


def _result_of(reference: Any, label: str) -> Any:
    """The task's result; its own exception is raised as what it is, so a user's mistake stays a UserError."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from error
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.RayActorError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    ) as error:
        raise UserError(
            f"{label}: a worker died {MAX_RETRIES + 1} times at the same piece of work "
            f"({type(error).__name__}): mostly for want of memory, so let fewer work at a time "
            "(shard.workers) or take larger machines; the same command goes on where it stopped"
        ) from error


class _Count:
    """What is behind us: whole items, and what those at work have said. It never goes back."""

    def __init__(self, weights: Sequence[int], on_progress: Progress | None) -> None:
        self.weights, self.on_progress = weights, on_progress
        self.total = sum(weights)
        self.started = time.monotonic()
        self.finished = 0
        self.partly: dict[int, int] = {}  # of the items at work
        self.said = 0

    def advance(self, place: int, units: int) -> None:
        """An item's last unit is behind us when its result is here."""
        self.partly[place] = max(0, min(units, self.weights[place] - 1))
        self._say()

    def finish(self, place: int) -> None:
        self.partly.pop(place, None)
        self.finished += self.weights[place]
        self._say()

    def _say(self) -> None:
        done = self.finished + sum(self.partly.values())
        if self.on_progress is not None and done > self.said:
            self.said = done
            elapsed = time.monotonic() - self.started
            self.on_progress(done, self.total, elapsed / done * (self.total - done))


@dataclass
class _AtWork:
    """What this process has in hand: the item's place, its units so far, and who wants to hear of them."""

    place: int = -1
    units: int = 0
    say: Callable[[int, int], None] | None = None
    gpu: bool = False


_AT_WORK = _AtWork()


class _Worker:
    """An actor that holds what `build` makes.

    It is built with the first item, so that an error comes as that item's. The constructor takes nothing,
    for Ray starts no actor again whose arguments have gone; `build` comes boxed, so that it is fetched once.
    """

    def __init__(self) -> None:
        self.function: Callable[[Any], Any] | None = None

    def work(self, box: tuple[Any], place: int, item: Any) -> Any:
        _AT_WORK.place, _AT_WORK.units = place, 0
        with overheard(warn_driver):
            if self.function is None:
                import ray

                _AT_WORK.gpu = bool(ray.get_runtime_context().get_accelerator_ids().get("GPU"))
                self.function = ray.get(box[0])()
            return self.function(item)

    def position(self) -> tuple[int, int]:
        return _AT_WORK.place, _AT_WORK.units


class _Pool:
    """Actors with one item each.

    One that finds nothing left to do is let go: an actor whose node went away may be waiting for its place.
    """

    def __init__(self, build: Callable[[], Any], label: str, number: int, share: float) -> None:
        import ray

        remote: Any = ray.remote  # its types know no concurrency groups
        kind = remote(
            num_cpus=1,
            num_gpus=share,
            max_restarts=-1,
            max_task_retries=MAX_RETRIES,
            concurrency_groups={WATCH: 1},
        )(_Worker)
        self.label = label
        self.box = (ray.put(build),)
        self.actors = [kind.remote() for _ in range(number)]
        self.asked: dict[Any, Any] = {}  # actor -> its answer to come

    def run(self, items: Sequence[Any], count: _Count) -> list[Any]:
        import ray

        results: dict[int, Any] = {}
        in_hand: dict[Any, tuple[int, Any]] = {}
        free = list(reversed(self.actors))
        looked = time.monotonic()
        while len(results) < len(items):
            while free and (place := len(results) + len(in_hand)) < len(items):
                actor = free.pop()
                reference = actor.work.options(name=self.label).remote(self.box, place, items[place])
                in_hand[reference] = place, actor
            while free:
                ray.kill(free.pop())
            finished, _ = ray.wait(list(in_hand), num_returns=1, timeout=LOOK_EVERY_S)
            for reference in finished:
                place, actor = in_hand[reference]
                results[place] = _result_of(reference, self.label)
                del in_hand[reference]
                free.append(actor)
                count.finish(place)
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._look({actor: place for place, actor in in_hand.values()}, count)
                _hear(self.label)
        return [results[place] for place in range(len(items))]

    def _look(self, busy: dict[Any, int], count: _Count) -> None:
        """Take the answers that are there, and ask who owes none."""
        import ray

        for actor, in_hand in busy.items():
            if actor in self.asked and ray.wait([self.asked[actor]], timeout=0)[0]:
                try:
                    place, units = ray.get(self.asked.pop(actor))
                except ray.exceptions.RayError:  # it died; its item begins anew
                    continue
                if place == in_hand:
                    count.advance(place, units)
            if actor not in self.asked:
                self.asked[actor] = actor.position.options(concurrency_group=WATCH).remote()

    def close(self) -> None:
        import ray

        _hear(self.label)
        for actor in self.actors:
            ray.kill(actor)
