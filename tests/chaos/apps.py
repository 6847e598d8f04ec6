"""In the processes of a chaos run: heartbeats, late settlements and the lease of a running job are written down.

Only what a process was told counts, so a heartbeat is noted when its answer is here, with the moment it was asked.
"""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple
from uuid import UUID

from django.apps import AppConfig

from tests.chaos.log import LOG, note


class Run(NamedTuple):
    """The execution that goes on in this thread or task."""

    job_id: UUID
    lease_no: int
    attempt: int
    worker: str


running: ContextVar[Run] = ContextVar("running")


class ChaosConfig(AppConfig):
    name = "tests.chaos"

    def ready(self) -> None:
        if not os.environ.get(LOG):
            return
        from django_jobqueue.queues.orm import OrmQueue
        from django_jobqueue.queues.redis import RedisQueue
        from django_jobqueue.workers.executor import Executor

        Executor.run = _noting_the_lease(Executor.run)
        for kind in (OrmQueue, RedisQueue):
            kind.join = _noting_the_join(kind.join)
            kind.heartbeat = _noting_beats(kind.heartbeat)
            kind.exchange = _noting_the_late(kind.exchange)


def _noting_the_lease(run: Any) -> Any:
    @wraps(run)
    def wrapped(self: Any, reservation: Any, *more: Any) -> Any:
        running.set(Run(reservation.job_id, reservation.lease_no, reservation.attempt, str(self._worker)))
        return run(self, reservation, *more)

    return wrapped


def _noting_the_join(join: Any) -> Any:
    @wraps(join)
    def wrapped(self: Any, worker: Any) -> None:
        asked = time.time()
        join(self, worker)
        note("beat", worker.id, asked)

    return wrapped


def _noting_beats(heartbeat: Any) -> Any:
    @wraps(heartbeat)
    def wrapped(self: Any, worker: UUID, *more: Any) -> bool:
        asked = time.time()
        is_alive = heartbeat(self, worker, *more)
        note("beat" if is_alive else "dead", worker, asked)
        return is_alive

    return wrapped


def _noting_the_late(exchange: Any) -> Any:
    @wraps(exchange)
    def wrapped(self: Any, settlements: Any, *more: Any) -> Any:
        answer = exchange(self, settlements, *more)
        for settlement, held in zip(settlements, answer.settled, strict=True):
            if not held:
                note("late", settlement.reservation.job_id, settlement.reservation.lease_no)
        return answer

    return wrapped
