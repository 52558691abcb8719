"""How a job's workers, wherever they run, tell the driver what they do.

The driver owns a mailbox actor and empties it from a thread; a worker posts and goes on at once. The driver
alone draws progress, writes metric files and talks to the tracker, so a worker that dies takes no record with
it.
"""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.progress import Event

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
WARNINGS = "facefill-warnings"  # the name of a mailbox
Sink = Callable[[Event], None]


class Mailbox:
    """Keeps what was posted until the driver takes it. Runs as a Ray actor."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._stopping = False

    def post(self, event: Event) -> None:
        self._events.append(event)

    def arrived(self) -> None:
        """Calls of one worker come in order, so its earlier ones are here."""

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping


class Post:
    """A worker's end: callable with an event, returns without waiting. Can be sent to any worker."""

    def __init__(self, mailbox: Any) -> None:
        self.mailbox = mailbox

    def __call__(self, event: Event) -> None:
        self.mailbox.post.remote(event)

    def wait(self) -> None:
        """Return when everything that this worker posted has arrived; call it before the worker ends."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):  # a lost mailbox costs lines, not the training
            ray.get(self.mailbox.arrived.remote())

    def ask_to_stop(self) -> None:
        """The driver's word to all workers."""
        self.mailbox.stop.remote()

    def asked_to_stop(self) -> bool:
        """Whether the driver wants the workers to stop; they look for it themselves."""
        import ray

        return bool(ray.get(self.mailbox.stopping.remote()))


@contextlib.contextmanager
def board(on_event: Sink) -> Iterator[Post]:
    """A mailbox on the running cluster whose events reach `on_event` in this process while the block lasts.

    What was posted before the block ends is delivered. An `on_event` that fails is logged and stops nothing.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # on the driver's own machine: any other may be lost before the driver
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox: Any = ray.remote(num_cpus=0)(Mailbox).options(scheduling_strategy=here).remote()
    ended = threading.Event()

    def deliver() -> None:
        for event in ray.get(mailbox.take.remote()):
            try:
                on_event(event)
            except Exception:
                log.exception("an event of %s at step %d was lost", event.label, event.step)

    def watch() -> None:
        while not ended.wait(LOOK_EVERY_S):
            try:
                deliver()
            except ray.exceptions.RayError:
                return  # the cluster went away; whoever runs the job says so

    thread = threading.Thread(target=watch, name="board", daemon=True)
    thread.start()
    try:
        yield Post(mailbox)
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(ray.exceptions.RayError):
            deliver()
            ray.kill(mailbox)


def warn_driver(text: str) -> None:
    """A word to the driver from any worker, which waits until it has arrived."""
    import ray

    try:
        ray.get(_warnings().post.remote(Event("", "note", 0, 0, text=text)))
    except ray.exceptions.RayError:  # its maker died; the next warning makes another
        _warnings.cache_clear()


def warnings_heard() -> list[str]:
    """What workers have warned the driver of since it last asked."""
    import ray

    try:
        events: list[Event] = ray.get(ray.get_actor(WARNINGS).take.remote())
    except (ValueError, ray.exceptions.RayError):  # nobody had to warn, or its maker died
        return []
    return [event.text for event in events]


@functools.cache
def _warnings() -> Any:
    """The mailbox of warnings, made by the first worker that needs it; it lives as long as that worker."""
    import ray

    return ray.remote(num_cpus=0)(Mailbox).options(name=WARNINGS, get_if_exists=True).remote()
