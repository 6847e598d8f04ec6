"""What becomes of a job that ran: done, again, later, never. Pure: nothing is stored here."""

from __future__ import annotations

import logging
import random
from typing import Any, NamedTuple

from django_jobqueue.conf import conf
from django_jobqueue.exceptions import (
    Discard,
    JobCancelled,
    JobTimeout,
    PayloadError,
    ResultError,
    Retry,
    SignatureMismatch,
    Snooze,
    StoredFieldsInvalid,
    UnknownTask,
)
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.payload import MAX_DELAY_SECONDS
from django_jobqueue.jobs.retry import RetryStrategy
from django_jobqueue.lifecycle.errors import describe
from django_jobqueue.lifecycle.policy import DEFAULT, retry_strategy
from django_jobqueue.models import DeadLetterJob
from django_jobqueue.queues.base import NO_ERROR, WORKER_LOST, Move, Reservation, Settlement

logger = logging.getLogger("django_jobqueue")

Reason = DeadLetterJob.Reason


class Timing(NamedTuple):
    """Milliseconds from claim to start, and from start to end."""

    start_ms: int = 0
    run_ms: int = 0


_NEVER_RAN: dict[type[Exception], str] = {
    UnknownTask: Reason.UNKNOWN_TASK,
    PayloadError: Reason.PAYLOAD_INVALID,
    SignatureMismatch: Reason.SIGNATURE_MISMATCH,
}


def encode_result(value: Any) -> str:
    """What a task returned as it is stored, at most `MAX_RESULT_BYTES`; empty for None. Raises `ResultError`."""
    if value is None:
        return ""
    try:
        return codec.encode(value, max_bytes=conf().MAX_RESULT_BYTES, root="return value")
    except Exception as problem:
        raise ResultError(f"the task has run, but what it returned can't be stored: {problem}") from problem


def completed(reservation: Reservation, result: str, timing: Timing) -> Settlement:
    """The task returned; `result` is its encoded value."""
    # By place: this is made for every job, and with names it takes twice as long.
    return Settlement(reservation, Move.COMPLETED, result, NO_ERROR, "", 0.0, timing.start_ms, timing.run_ms)


def released(reservation: Reservation) -> Settlement:
    """The task was not started: back to its place in the line."""
    return Settlement(reservation, Move.RELEASED)


def interrupted(reservation: Reservation) -> Settlement:
    """It was started, and its worker had no more time for it, or was ended for what another job did.

    Back to its place, too; but a job that must not run again when its worker is lost (`on_crash="dead"`) must not run
    again after this.
    """
    budget = reservation.crash_budget
    if budget is None or reservation.crashes + 1 < budget:
        return released(reservation)
    return Settlement(reservation, Move.DEAD, error=WORKER_LOST, reason=Reason.WORKER_LOST)


def not_runnable(reservation: Reservation, problem: UnknownTask | PayloadError | SignatureMismatch) -> Settlement:
    """The job can't even be started. No retry would change that; an operator, or a new release, may."""
    reason = next(reason for kind, reason in _NEVER_RAN.items() if isinstance(problem, kind))
    return Settlement(reservation, Move.DEAD, error=describe(problem), reason=reason)


def failed(
    reservation: Reservation, exception: BaseException, strategy: RetryStrategy | None, timing: Timing
) -> Settlement:
    """The task raised. A failed job runs again while both its strategy and `max_attempts` allow it."""
    base = Settlement(reservation, Move.DEAD, error=describe(exception), start_ms=timing.start_ms, run_ms=timing.run_ms)
    kind = type(exception)  # isinstance() would ask the object, which may raise
    if issubclass(kind, Snooze):
        return base._replace(move=Move.SNOOZE, delay=_own_delay(exception) or 0.0)
    if issubclass(kind, JobCancelled):
        return base._replace(move=Move.CANCELLED)
    if issubclass(kind, Discard):
        return base._replace(reason=Reason.DISCARDED)
    if issubclass(kind, StoredFieldsInvalid):
        return base._replace(reason=Reason.PAYLOAD_INVALID)
    if issubclass(kind, ResultError):
        return base._replace(reason=Reason.RESULT_INVALID)
    delay = _retry_delay(reservation, exception, retry_strategy(strategy, reservation.queue))
    if delay is None:
        return base._replace(reason=Reason.EXPIRED if issubclass(kind, JobTimeout) else Reason.EXHAUSTED)
    return base._replace(move=Move.RETRY, delay=delay)


def _retry_delay(reservation: Reservation, exception: BaseException, strategy: RetryStrategy) -> float | None:
    """Seconds until the next attempt; None: there is none."""
    attempt = reservation.attempt
    if attempt >= reservation.max_attempts:
        return None
    try:
        if issubclass(type(exception), Retry):
            own = _own_delay(exception)
            return _delay(strategy, attempt) if own is None else own
        return _delay(strategy, attempt) if strategy.should_retry(attempt, exception) else None
    except BaseException:  # a strategy of the project's own that fails must not decide that the job is lost
        logger.exception("The retry strategy of %s failed; the default one is used.", reservation.task)
        return _delay(DEFAULT, attempt)


def _own_delay(exception: BaseException) -> float | None:
    """What a `Retry` or a `Snooze` asks for. A subclass may have forgotten its base's `__init__`."""
    try:
        return _within_dates(exception.delay)  # type: ignore[attr-defined]
    except BaseException:
        return None


def _delay(strategy: RetryStrategy, attempt: int) -> float:
    return _within_dates(strategy.delay(attempt, random.random).total_seconds())


def _within_dates(seconds: float) -> float:
    """A delay that ends before the databases' dates do; one that is no number is none."""
    return min(max(0.0, seconds), MAX_DELAY_SECONDS)
