"""Run one function over many items on Ray: bounded in flight, results in item order, with progress.

The only file that starts Ray tasks and actors. What dies with its node or process is run again; an exception
that the function raises is not retried, it ends the job. Functions must be importable on the workers (module
level), items must pickle.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int, float], None]  # done, total, seconds left

MAX_RETRIES = 3
WAITING_PER_ACTOR = 2  # items: one at work, one there already when it is done


def run_tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    label: str,
    on_progress: Progress | None = None,
    workers: int | None = None,
) -> list[Result]:
    """The function's result for every item, in the items' order.

    workers=0 runs in this process, for tests and tiny jobs; otherwise an initialised Ray session is needed
    and at most `workers` tasks (None: twice the cluster's CPUs) wait or run at a time, each on one CPU.
    `label` names the tasks in Ray's dashboard. On an exception or Ctrl-C what is in flight is cancelled.
    """
    report = _reporter(on_progress, len(items))
    if workers == 0:
        return _here(function, items, report)
    cpus = _cpus()
    return _tasks(function, items, label, report, workers or max(2, 2 * cpus))


def run_actors(
    build: Callable[[], Callable[[Item], Result]],
    items: Sequence[Item],
    *,
    label: str,
    on_progress: Progress | None = None,
    workers: int | None = None,
) -> list[Result]:
    """Like `run_tasks`, for a function that is costly to build: `build` is called once per worker process.

    At most `workers` actors (None: one per CPU of the cluster). One that dies is started again, and what it
    had in hand is done again, up to `MAX_RETRIES` times each; then the job ends with Ray's error.
    """
    report = _reporter(on_progress, len(items))
    if workers == 0:
        return _here(build(), items, report) if items else []
    cpus = _cpus()
    return _actors(build, items, label, report, workers or cpus)


def _reporter(on_progress: Progress | None, total: int) -> Callable[[int], None]:
    started = time.monotonic()

    def report(done: int) -> None:
        if on_progress is not None:
            elapsed = time.monotonic() - started
            on_progress(done, total, elapsed / done * (total - done))

    return report


def _here(
    function: Callable[[Item], Result], items: Sequence[Item], report: Callable[[int], None]
) -> list[Result]:
    results: list[Result] = []
    for item in items:
        results.append(function(item))
        report(len(results))
    return results


def _cpus() -> int:
    """The cluster's processors; a session must be there."""
    import ray

    if not ray.is_initialized():
        raise RuntimeError(
            "no Ray session: start one with pipelines.cluster_session first, or pass workers=0"
        )
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    label: str,
    report: Callable[[int], None],
    limit: int,
) -> list[Result]:
    import ray

    task: Any = ray.remote(_call).options(name=label, num_cpus=1, max_retries=MAX_RETRIES)
    shared = ray.put(function)
    return _in_order(lambda item: task.remote(shared, item), items, report, limit)


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _actors(
    build: Callable[[], Callable[[Item], Result]],
    items: Sequence[Item],
    label: str,
    report: Callable[[int], None],
    count: int,
) -> list[Result]:
    import ray

    kind: Any = ray.remote(_Worker).options(
        num_cpus=1, max_restarts=MAX_RETRIES, max_task_retries=MAX_RETRIES
    )
    box = (ray.put(build),)
    actors = [kind.remote() for _ in range(min(count, len(items)))]
    free = deque(actors * WAITING_PER_ACTOR)
    actor_of: dict[Any, Any] = {}

    def submit(item: Item) -> Any:
        actor = free.popleft()
        reference = actor.work.options(name=label).remote(box, item)
        actor_of[reference] = actor
        return reference

    try:
        return _in_order(submit, items, report, len(free), lambda done: free.append(actor_of.pop(done)))
    finally:
        for actor in actors:
            ray.kill(actor)


class _Worker:
    """An actor that holds what `build` makes.

    It is built with the first item, so that an error comes as that item's. The constructor takes nothing,
    for Ray starts no actor again whose arguments have gone; `build` comes boxed, so that it is fetched once.
    """

    def __init__(self) -> None:
        self.function: Callable[[Any], Any] | None = None

    def work(self, box: tuple[Any], item: Any) -> Any:
        if self.function is None:
            import ray

            self.function = ray.get(box[0])()
        return self.function(item)


def _in_order(
    submit: Callable[[Item], Any],
    items: Sequence[Item],
    report: Callable[[int], None],
    limit: int,
    release: Callable[[Any], None] = lambda reference: None,
) -> list[Any]:
    """The results of all items; at most `limit` are submitted and not done at a time."""
    import ray

    results: dict[int, Any] = {}
    place_of: dict[Any, int] = {}
    waiting = iter(enumerate(items))
    try:
        while len(results) < len(items):
            while len(place_of) < limit and (following := next(waiting, None)) is not None:
                place, item = following
                place_of[submit(item)] = place
            finished, _ = ray.wait(list(place_of), num_returns=1)
            for reference in finished:
                results[place_of[reference]] = _result_of(reference)
                del place_of[reference]
                release(reference)
                report(len(results))
    finally:
        for reference in place_of:
            ray.cancel(reference, force=False)
    return [results[place] for place in range(len(items))]


def _result_of(reference: Any) -> Any:
    """The task's result; its own exception is raised as what it is, so a user's mistake stays a UserError."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from error
