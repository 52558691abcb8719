"""Being told to stop: a note that a signal, the driver or the cluster leaves, and that training looks at."""

import contextlib
import signal
from collections.abc import Callable, Iterator


class Terminated(KeyboardInterrupt):
    """Work that ended because of SIGTERM, with everything done so far in storage."""


class StopNotice:
    """Whether this process is to stop at its next opportunity, and why. Safe to use from any thread."""

    def __init__(self) -> None:
        self.reason = ""

    def give(self, reason: str) -> None:
        """Ask to stop; the first reason is the one that counts."""
        self.reason = self.reason or reason


PROCESS_NOTICE = StopNotice()  # of a training worker: its signals are heard apart from its training


def heed_sigterm() -> None:
    """From now on SIGTERM leaves a note in PROCESS_NOTICE; for the main thread of a worker."""
    signal.signal(signal.SIGTERM, lambda *_: PROCESS_NOTICE.give("a worker was told to end (SIGTERM)"))


@contextlib.contextmanager
def sigterm_calls(action: Callable[[], None]) -> Iterator[None]:
    """While the block lasts SIGTERM calls `action`, which may raise; outside the main thread nothing is
    changed.
    """
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: action())
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def own_interrupt_handler() -> Iterator[None]:
    """Put back the answer to Ctrl-C that Ray Train replaces for good."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: nothing was replaced
            signal.signal(signal.SIGINT, handler)
