"""Run one function over many items as Ray tasks: bounded in flight, in item order, with progress.

The only file that starts Ray tasks. A task that dies with its node is run again; an exception that the
function raises is not retried, it ends the job. Functions must be importable on the workers (module level),
items must pickle.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int, float], None]  # done, total, seconds left

MAX_RETRIES = 3


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
    started = time.monotonic()

    def report(done: int) -> None:
        if on_progress is not None:
            elapsed = time.monotonic() - started
            on_progress(done, len(items), elapsed / done * (len(items) - done))

    if workers == 0:
        results: list[Result] = []
        for item in items:
            results.append(function(item))
            report(len(results))
        return results
    return _run_on_ray(function, items, label, report, workers)


def _run_on_ray(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    label: str,
    report: Callable[[int], None],
    workers: int | None,
) -> list[Result]:
    import ray

    if not ray.is_initialized():
        raise RuntimeError(
            "no Ray session: start one with pipelines.cluster_session first, or pass workers=0"
        )
    limit = workers or max(2, int(2 * ray.cluster_resources().get("CPU", 1)))
    task: Any = ray.remote(_call).options(name=label, num_cpus=1, max_retries=MAX_RETRIES)
    shared = ray.put(function)
    results: dict[int, Any] = {}
    place_of: dict[Any, int] = {}
    waiting = iter(enumerate(items))
    try:
        while len(results) < len(items):
            while len(place_of) < limit and (following := next(waiting, None)) is not None:
                place, item = following
                place_of[task.remote(shared, item)] = place
            finished, _ = ray.wait(list(place_of), num_returns=1)
            for reference in finished:
                results[place_of[reference]] = _result_of(reference)
                del place_of[reference]
                report(len(results))
    finally:
        for reference in place_of:
            ray.cancel(reference, force=False)
    return [results[place] for place in range(len(items))]


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _result_of(reference: Any) -> Any:
    """The task's result; its own exception is raised as what it is, so a user's mistake stays a UserError."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from error
