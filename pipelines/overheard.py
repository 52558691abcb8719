"""What this package logs as a warning, handed to whoever can show it: Ray's workers have no terminal."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

QUIET_S = 10.0  # between two warnings of one module: an outage repeats its own


@contextlib.contextmanager
def overheard(tell: Callable[[str], None]) -> Iterator[None]:
    """While the block lasts, warnings and errors that `pipelines` logs in this process go to `tell`, from
    whichever thread; those of one module at most every `QUIET_S`.
    """
    ear, logger = _Ear(tell), logging.getLogger(__package__)
    logger.addHandler(ear)
    try:
        yield
    finally:
        logger.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if record.levelno > logging.WARNING or now - self._told.get(record.name, -QUIET_S) >= QUIET_S:
            self._told[record.name] = now
            self._tell(self.format(record))
