"""Named points where a test breaks something, to see that nothing is lost and nothing is stuck.

`JOBQUEUE_FAILPOINT="claim.committed:kill"` sends SIGKILL to this process when it gets there; `claim.committed:kill:3`,
the third time. Other signals have their names too: `term`, `stop`. `error` raises what a store raises that does not
answer: before a commit nothing was done then, after it the answer was lost. Without the variable `hit` is an empty
function. The points stand once per transaction, never once per job.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Callable

from django.db import OperationalError

VARIABLE = "JOBQUEUE_FAILPOINT"
POINTS = {
    "enqueue.before_commit": "the jobs are written, the producer has no answer",
    "enqueue.committed": "the jobs are stored, the producer does not know",
    "join.committed": "the worker is known and holds nothing",
    "promote.before_commit": "due jobs are written to the line",
    "claim.before_commit": "the leases are written",
    "claim.committed": "the jobs are leased to a worker that does not know",
    "settle.half_written": "the history is written, the rooms are not",
    "settle.before_commit": "the decisions are written",
    "settle.committed": "the decisions are stored, the worker does not know",
    "atomic.before_commit": "what an atomic job has written and its completion are one open transaction",
    "atomic.committed": "both are stored, the worker does not know",
    "age.before_commit": "jobs that have waited for long have another priority",
    "reclaim.before_commit": "the leases of the dead are written back",
    "reclaim.committed": "the jobs of the dead are in the line again",
    "declare_dead.before_commit": "the leases of a worker that was seen to die are written back",
    "declare_dead.committed": "they are in the line again, whoever saw it does not know",
    "request_cancel.before_commit": "the lease of a running job is marked",
    "request_cancel.committed": "the job is asked to stop, whoever asked does not know",
    "leave.before_commit": "the worker's own leases are written back",
    "leave.committed": "the worker has signed off and still runs",
    "record.before": "what has ended is settled in Redis, the tables don't know",
    "record.committed": "the tables know, Redis has not been told that they do",
    "outbox.before_commit": "the jobs for Redis are in the tables, their transaction is open",
    "outbox.committed": "the transaction is committed, Redis knows nothing",
    "outbox.delivered": "the jobs are in Redis, the tables have them too",
    "tick.taken": "schedules that are due are locked, nothing is written",
    "tick.pushed": "their jobs are written, the next ticks are not",
    "tick.before_commit": "the next ticks are written, too",
    "tick.committed": "the jobs are in the line, the scheduler does not know",
    "revive.before_commit": "dead letters are deleted, their jobs are written",
    "revive.committed": "the jobs are in the line, the operator has no answer",
}
"""Every point, and what is true when the process gets there."""
ERROR = "error"


def _nothing(point: str) -> None:
    """What `hit` is in every process but a test's."""


def armed(text: str) -> Callable[[str], None]:
    """The `hit` that `text` (`point:action` or `point:action:n`) asks for. Raises `ValueError` for anything else."""
    match = re.fullmatch(r"([a-z_.]+):([a-z]+)(?::([0-9]+))?", text)
    wanted, name, nth = match.groups(default="1") if match else ("", "", "")
    number = getattr(signal, f"SIG{name.upper()}", None)
    if wanted not in POINTS or (number is None and name != ERROR):
        raise ValueError(
            f"{VARIABLE}={text!r}: use point:action or point:action:n, with a signal or {ERROR}; "
            f"points: {', '.join(POINTS)}"
        )
    times = itertools.count(1)

    def hit(point: str) -> None:
        if point != wanted or next(times) != int(nth):
            return
        if number is None:
            raise OperationalError(f"failpoint {point}")
        os.kill(os.getpid(), number)

    return hit


hit = armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _nothing
