"""What was pushed, what the jobs wrote down, and what the store says: compared at the end of a test."""

from __future__ import annotations

import signal
from collections import Counter
from itertools import pairwise
from typing import Any
from uuid import UUID

from django_jobqueue.queues.base import WorkerIdentity
from tests.crash import tasks
from tests.crash.processes import Stage, finish, terminate
from tests.waiting import wait_until

LEASE = 1.0
ONE_BY_ONE = {"PREFETCH_MAX": 1, "FLUSH_SECONDS": 5}
"""So that the first settlement is that of the first job, and it is the worker itself that makes it."""


class Books:
    """Everything that was pushed, and the comparison at the end."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.jobs: dict[str, UUID] = {}

    def push(self, task: Any, name: str, **options: Any) -> UUID:
        self.jobs[name] = self.stage.push(task, name, **options)
        return self.jobs[name]

    def push_one_of_each(self, first: Any, **options: Any) -> UUID:
        """A line with every kind of job in it, the one whose move is interrupted at its head."""
        head = self.push(first, "head", **options)
        self.push(tasks.flaky, "flaky")
        self.push(tasks.doomed, "doomed")
        self.push(tasks.snooze_once, "snoozed")
        self.push(tasks.work, "delayed", delay=0.2)
        self.push(tasks.work, "last")
        return head

    def hold_head(self, is_over: bool = False) -> WorkerIdentity:
        """Somebody who says no more takes the first job; with `is_over`, the lease ends at once."""
        gone, queue = WorkerIdentity(), self.stage.queue
        queue.join(gone)
        [mine] = queue.reserve((), 1, gone.id)
        assert mine.job_id == self.jobs["head"]
        if is_over:
            queue.lease = 0.0
            queue.heartbeat(gone.id)
        return gone

    def die(self, process: Any) -> None:
        """The point was reached: the process died by its own SIGKILL, not of anything else."""
        code, _, err = finish(process)
        assert code == -signal.SIGKILL, f"the failpoint was not reached: exit code {code}\n{err}"

    def finish(self) -> None:
        """A clean worker finishes; a lease must end first where one was held."""
        worker = self.stage.worker(conf=ONE_BY_ONE)
        wait_until(self.stage.is_settled, f"all settled; live: {self.stage.live()}")
        code, _, err = terminate(worker)
        assert code == 0, err

    def compare(self) -> None:
        stage = self.stage
        dead, by_name = stage.dead(), {job_id: name for name, job_id in self.jobs.items()}
        rows = list(stage.history().order_by("lease_no").values_list("job_id", "outcome"))
        history: dict[UUID, list[str]] = {job_id: [] for job_id in by_name}
        for job_id, outcome in rows:
            history[job_id].append(outcome)  # KeyError: something that nobody pushed
        starts, ends = Counter(stage.names("start")), Counter(stage.names("end"))
        assert stage.leases() == 0
        assert set(dead) <= set(history)
        for job_id, outcomes in history.items():
            name = by_name[job_id]
            check_one(name, outcomes, job_id in dead, starts[name], ends[name])
        self.no_early_reruns(history)

    def no_early_reruns(self, history: dict[UUID, list[str]]) -> None:
        """A job that was started by one process and again by another waited for the lease in between."""
        for name, job_id in self.jobs.items():
            lines = self.stage.lines("start", name)
            for before, after in pairwise(lines):
                if before.pid != after.pid and "lost" in history[job_id]:
                    assert after.time - before.time > LEASE * 2 / 3 - 0.15, f"{name} ran again before its lease ended"


def check_one(name: str, outcomes: list[str], is_dead: bool, starts: int, ends: int) -> None:
    """One job's books. `lost` counts the executions whose worker died with the lease."""
    lost = outcomes.count("lost")
    expected = {
        "flaky": ["retrying", "completed"],
        "doomed": ["failed"],
        "snooze_once": ["snoozed", "completed"],
    }.get(kind_of(name), ["completed"])
    told = [outcome for outcome in outcomes if outcome != "lost"]
    if kind_of(name) in ("flaky", "snooze_once") and lost:
        assert told in (expected, ["completed"]), f"{name}: {outcomes}"  # it failed, and died before it could say so
    else:
        assert told == expected, f"{name}: {outcomes}"
    assert is_dead == (expected[-1] == "failed"), name
    assert len(told) <= starts <= len(outcomes), f"{name}: {starts} starts, {outcomes}"
    assert ends <= 1 + lost, f"{name} ended {ends} times and was lost {lost} times"
    assert lost <= 1


def kind_of(name: str) -> str:
    return KINDS.get(name, "work")


KINDS = {"flaky": "flaky", "doomed": "doomed", "snoozed": "snooze_once"}
