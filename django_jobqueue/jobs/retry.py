"""Whether and when a failed job runs again: the one home of that arithmetic.

A strategy is a value: it can be compared, printed and shared. It reads no clock and rolls no dice of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django_jobqueue.exceptions import InvalidRetryPolicy

MAX_ATTEMPTS = 32_000  # the columns that count attempts are small integers
LONGEST_DELAY = timedelta(days=365)

Seconds = timedelta | int | float
ExceptionClasses = type[BaseException] | Iterable[type[BaseException]]

# 2 ** 64 times a microsecond is longer than any cap, so doubling further changes nothing; 2 ** 32_000 is no float.
_MOST_DOUBLINGS = 64


class RetryStrategy(ABC):
    """Two pure methods. `attempt` is the number of the attempt that just failed; the first is 1."""

    max_attempts: int
    """How often the job may run in all, the first time included. At least 1."""

    @abstractmethod
    def should_retry(self, attempt: int, exception: BaseException) -> bool:
        """Whether another attempt follows this failure."""

    @abstractmethod
    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        """How long to wait before the next attempt: finite, never negative. `random` gives numbers in [0, 1)."""


@dataclass(frozen=True)
class ExponentialBackoff(RetryStrategy):
    """Wait `base`, then twice that, four times, … but never longer than `cap`.

    `jitter` is the share (0 to 1) of each delay that may be taken off at random: jobs that failed together then don't
    come back together, and since nothing is ever added, they don't bunch at the cap either.

    `base` and `cap` are seconds or timedeltas. `only` names the exceptions worth a retry (none named: all of them),
    `never` those that are not; `never` wins. Raises InvalidRetryPolicy.
    """

    max_attempts: int = 3
    base: Seconds = 15
    cap: Seconds = 3600
    jitter: float = 0.1
    only: ExceptionClasses = ()
    never: ExceptionClasses = ()

    def __post_init__(self) -> None:
        _check_attempts(self.max_attempts)
        base, cap = _span("base", self.base), _span("cap", self.cap)
        if base > cap:
            raise InvalidRetryPolicy(f"base ({base}) is longer than cap ({cap}).")
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, (int, float)) or not 0 <= self.jitter <= 1:
            raise InvalidRetryPolicy("jitter is a share of the delay, from 0 to 1.")
        _set(self, base=base, cap=cap, only=_classes("only", self.only), never=_classes("never", self.never))

    def should_retry(self, attempt: int, exception: BaseException) -> bool:
        return attempt < self.max_attempts and _is_worth_it(exception, self.only, self.never)

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        base, cap = _span("base", self.base), _span("cap", self.cap)
        doublings = min(max(attempt, 1) - 1, _MOST_DOUBLINGS)
        full = min(math.ldexp(base.total_seconds(), doublings), cap.total_seconds())
        return min(timedelta(seconds=full * (1 - self.jitter * random())), cap)


@dataclass(frozen=True)
class FixedDelays(RetryStrategy):
    """Wait `delays[0]` after the first failure, `delays[1]` after the second, …: one attempt more than delays.

    Delays are seconds or timedeltas, kept to the letter (no jitter). `only` and `never` as for ExponentialBackoff.
    Raises InvalidRetryPolicy.
    """

    delays: Iterable[Seconds]
    only: ExceptionClasses = ()
    never: ExceptionClasses = ()
    max_attempts: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.delays, (str, bytes)) or not isinstance(self.delays, Iterable):
            raise InvalidRetryPolicy("delays is a list of seconds or timedeltas.")
        delays = tuple(_span(f"delays[{index}]", delay) for index, delay in enumerate(self.delays))
        if not delays:
            raise InvalidRetryPolicy("delays is empty. NoRetry() says that a job runs once.")
        _check_attempts(len(delays) + 1)
        _set(self, delays=delays, only=_classes("only", self.only), never=_classes("never", self.never))
        _set(self, max_attempts=len(delays) + 1)

    def should_retry(self, attempt: int, exception: BaseException) -> bool:
        return attempt < self.max_attempts and _is_worth_it(exception, self.only, self.never)

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        delays = tuple(self.delays)
        return _span("delays", delays[min(max(attempt, 1), len(delays)) - 1])


@dataclass(frozen=True)
class NoRetry(RetryStrategy):
    """Run once. A failure goes straight to the dead letters."""

    max_attempts: int = field(default=1, init=False, repr=False)

    def should_retry(self, attempt: int, exception: BaseException) -> bool:
        return False

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        return timedelta(0)


def _is_worth_it(exception: BaseException, only: Any, never: Any) -> bool:
    return not isinstance(exception, never) and (not only or isinstance(exception, only))


def _check_attempts(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ATTEMPTS:
        raise InvalidRetryPolicy(f"max_attempts is a whole number from 1 to {MAX_ATTEMPTS:,}.")


def _span(name: str, value: object) -> timedelta:
    """Seconds or a timedelta, as a timedelta from 0 to LONGEST_DELAY."""
    if isinstance(value, timedelta):
        span = value
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRetryPolicy(f"{name} is a number of seconds or a timedelta, not {type(value).__name__}.")
    elif not 0 <= value <= LONGEST_DELAY.total_seconds():  # also refuses NaN, before timedelta() would choke on it
        raise InvalidRetryPolicy(f"{name} is from 0 seconds to {LONGEST_DELAY.days} days.")
    else:
        span = timedelta(seconds=value)
    if not timedelta(0) <= span <= LONGEST_DELAY:
        raise InvalidRetryPolicy(f"{name} is from 0 seconds to {LONGEST_DELAY.days} days.")
    return span


def _classes(name: str, value: object) -> tuple[type[BaseException], ...]:
    classes = (value,) if isinstance(value, type) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(cls, type) and issubclass(cls, BaseException) for cls in classes):
        raise InvalidRetryPolicy(f"{name} is a list of exception classes.")
    return classes


def _set(strategy: RetryStrategy, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(strategy, name, value)  # a frozen dataclass tidies its own fields this way
