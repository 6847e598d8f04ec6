"""How many workers a store needs: one number, for whatever starts and stops them (KEDA, an HPA, a cron job)."""

from __future__ import annotations

import math

from django_jobqueue.conf import conf
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import Queue

_ROWS = 1_000
"""Of the history, by which the run time of the next jobs is guessed."""
_UNKNOWN_SECONDS = 1.0
"""A job is taken to last so long where there is no history."""


def desired_workers(queue: Queue, name: str | None = None, target: float | None = None) -> int:
    """How many jobs must run at once so that those that are ready now have been started within `target` seconds.

    `name`: of one queue only. `target` is `JOBQUEUE["AUTOSCALE_TARGET"]` unless given. Those that run now are counted,
    because whoever runs them can't be spared; so 0 means that there is nothing to do. Raises what the store raises when
    it does not answer.
    """
    within = conf().AUTOSCALE_TARGET if target is None else target
    rows = queue.stats(name)
    ready, running = sum(row.ready for row in rows), sum(row.running for row in rows)
    return running + math.ceil(min(ready, ready * _seconds_per_job(queue, name) / within))


def _seconds_per_job(queue: Queue, name: str | None) -> float:
    """The mean of the last executions. Read by their own order, which has an index, and chosen among afterwards."""
    last = JobHistory.objects.using(queue.database).order_by("-id").values_list("store", "queue", "run_ms")[:_ROWS]
    times = [ms for store, its_queue, ms in last if store == queue.store and name in (None, its_queue)]
    return sum(times) / len(times) / 1_000 if times else _UNKNOWN_SECONDS
