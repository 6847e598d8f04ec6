"""What a job costs this process without a worker: the queue alone, and the call alone. For tests/benchmarks/costs.py.

The store holds jobs that do nothing. They pass through `Queue.exchange` by as many as a worker takes of them, and the
processor time around it is the client's part: statements or scripts, the driver, rows into values. Then the same calls
are decoded, looked up, checked, run and their results encoded, without a store.
"""

from __future__ import annotations

import time
from typing import Any

from django_jobqueue.conf import conf
from django_jobqueue.jobs import codec
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.lifecycle.outcomes import Timing, completed, encode_result
from django_jobqueue.queues.base import Queue, Reservation, WorkerIdentity


def measure(queue: Queue) -> dict[str, Any]:
    """Microseconds of this process per job: `client_us`, `call_us`; and how many `jobs` there were."""
    me = WorkerIdentity()
    queue.join(me)
    passed, spent = pass_all(queue, me, conf().PREFETCH_MAX)
    queue.leave(me.id)
    return {"jobs": len(passed), "client_us": spent / len(passed) * 1e6, "call_us": call_all(passed) * 1e6}


def pass_all(queue: Queue, me: WorkerIdentity, at_once: int) -> tuple[list[Reservation], float]:
    """Drain the store; what there was, and the seconds that this process was busy with it."""
    found: list[Reservation] = []
    held: list[Reservation] = []
    spent = 0.0
    while True:
        settlements = [completed(job, "", Timing()) for job in held]
        begun = time.process_time()
        answer = queue.exchange(settlements, ("default",), at_once, me.id)
        spent += time.process_time() - begun
        assert all(answer.settled)
        held = answer.reservations
        found += held
        if not held:
            return found, spent


def call_all(jobs: list[Reservation]) -> float:
    """Seconds per job."""
    begun = time.process_time()
    for job in jobs:
        definition = lookup(job.task)
        args, kwargs = codec.decode_call(job.args)
        definition.bind(args, kwargs)
        encode_result(definition.func(*args, **kwargs))
    return (time.process_time() - begun) / len(jobs)
