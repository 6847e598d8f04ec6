"""Who hears that a task has started or finished: often nobody, and then it need not be told.

Django connects a log of its own to each signal of tasks, which makes a record of every job. With Django's default
`LOGGING` and DEBUG off such a record ends in no handler, and costs more than all the rest of a short job.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from django.conf import settings
from django.utils.log import RequireDebugTrue

_LOOK_SECONDS = 1.0
"""How long a change of a handler may go unnoticed. One that comes or goes, and a logger's level, are seen at once."""
_METHODS = ("debug", "info", "log", "_log", "makeRecord", "handle", "callHandlers")
"""What a record of Django's log goes through."""


class Audience:
    """The receivers of a signal. `log` is Django's own one, which writes to the `logger` at `level`."""

    def __init__(self, signal: Any, log: Callable[..., Any], logger: logging.Logger, level: int) -> None:
        self._signal = signal
        self._log = id(log)
        self._logger = logger
        self._level = level
        # In one piece: of two threads that look at the same moment, neither may leave half an answer to the other.
        self._seen: tuple[tuple[Any, ...], float, bool] = ((), 0.0, True)

    def is_there(self) -> bool:
        """Whether anybody hears of it: a receiver of the project's, or a log handler."""
        now = time.monotonic()
        logger, receivers = self._logger, self._signal.receivers
        last = receivers[-1:]
        state = (
            len(receivers),
            last and last[0][0],  # who comes in another's place comes last
            logger.isEnabledFor(self._level),
            len(logger.handlers),
            len(logging.root.handlers),
        )
        known, look_at, is_there = self._seen
        if state != known or now >= look_at:
            is_there = self._look()
            self._seen = state, now + _LOOK_SECONDS, is_there
        return is_there

    def _look(self) -> bool:
        keys = [entry[0][0] for entry in self._signal.receivers]
        return keys not in ([], [self._log]) or (bool(keys) and not is_lost(self._logger, self._level))


def is_lost(logger: logging.Logger, level: int) -> bool:
    """Whether a record of this level is surely seen by nobody. Anything out of the ordinary may see it."""
    if not logger.isEnabledFor(level):
        return True
    if not _is_ordinary(logger):
        return False
    return all(_is_deaf(handler, level) for handler in _handlers(logger))


def _is_ordinary(logger: logging.Logger) -> bool:
    """No filter looks at its records, and nobody has put something of their own in the place of Python's logging."""
    if logger.filters or type(logger) is not logging.Logger or logging.getLogRecordFactory() is not logging.LogRecord:
        return False
    return not any(name in vars(logger) or not _is_pythons(vars(logging.Logger)[name]) for name in _METHODS)


def _is_pythons(method: Any) -> bool:
    """By its type, too: what agents put around a method (`wrapt`) shows the attributes of the method, all of them."""
    return type(method) is FunctionType and method.__globals__ is vars(logging)


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """As `Logger.callHandlers` finds them; without any, Python has one for the last resort."""
    at: logging.Logger | None = logger
    found = False
    while at is not None:
        found = found or bool(at.handlers)
        yield from at.handlers
        at = at.parent if at.propagate else None
    if not found and logging.lastResort is not None:
        yield logging.lastResort


def _is_deaf(handler: logging.Handler, level: int) -> bool:
    if handler.level > level or type(handler) is logging.NullHandler:
        return True
    return not settings.DEBUG and any(type(one) is RequireDebugTrue for one in handler.filters)
