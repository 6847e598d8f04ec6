"""P3: frozen for longer than the lease, resumed when somebody else has the job: a zombie writes nothing.

Each kind of write that a worker makes: complete, fail, retry, snooze, give back, and the heartbeat. Four zombies of
each in CI; 200 on every store with JOBQUEUE_CRASH_POINTS=all.
"""

from __future__ import annotations

import itertools
import signal
import time

from django_jobqueue.lifecycle.outcomes import Timing, completed
from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import Room, WorkerIdentity
from tests.crash import tasks
from tests.crash.cases import ALL, on_stores
from tests.crash.processes import finish
from tests.waiting import wait_until

LEASE = 3.0
"""Of four workers that wait for a gate on a busy machine, none must lose its own meanwhile."""
CREW = 4
WRITES = ("complete", "fail", "retry", "snooze")
ROUNDS = 200 // CREW - 1 if ALL else len(WRITES)


class Heir:
    """Takes what the zombies held, keeps it, and completes it when they have had their say."""

    def __init__(self, stage, count):
        self.queue, self.me = stage.queue, WorkerIdentity()
        wait_until(lambda: self.queue.reclaim() or stage.leases() == 0, "the leases are over")
        wait_until(lambda: self.queue.reclaim() == 0 and stage.leases() == 0, "all are taken back")
        self.queue.join(self.me)
        self.jobs = self.queue.reserve((), count, self.me.id)

    def is_alive(self):
        """Said so often that the lease never ends."""
        return self.queue.heartbeat(self.me.id)

    def wait_until(self, condition, what):
        def answer():
            assert self.is_alive()
            return condition()

        wait_until(answer, what)

    def check(self, stage):
        for job in self.jobs:
            found = self.queue.find(job.job_id)
            assert (found.room, found.lease_no, found.worker_id) == (Room.LEASED, job.lease_no, self.me.id)
            assert stage.outcomes(job.job_id) == {"lost": 1}, "a zombie has written"
        assert not stage.dead()
        assert self.queue.settle([completed(job, "", Timing()) for job in self.jobs]) == [True] * len(self.jobs)
        assert all(stage.outcomes(job.job_id) == {"lost": 1, "completed": 1} for job in self.jobs)


def rows(stage, **where):
    found = WorkerProcess.objects.using(stage.database).filter(store=stage.queue.store, **where)
    return set(found.values_list("id", flat=True))


def freeze_all(stage, crew, how, number):
    """Each in the middle of a job of its own. Gives the gate that they wait for."""
    gate = stage.directory / f"gate{number}"
    task = tasks.held_up_once if how == "fail" else tasks.held_up
    for n in range(len(crew)):
        stage.push(task, f"job{number}.{n}", str(gate), how)
    begun = [stage.wait_for("start", f"job{number}.{n}")[0] for n in range(len(crew))]
    assert {line.pid for line in begun} == {worker.pid for worker in crew}
    for worker in crew:
        stage.freeze(worker.pid)
    over = time.monotonic() + LEASE
    wait_until(lambda: time.monotonic() > over)
    return gate


def wake(crew, *signals):
    for worker in crew:
        for number in (signal.SIGCONT, *signals):
            worker.send_signal(number)


@on_stores
def test_what_a_zombie_writes_changes_nothing(open_stage, alias):
    stage = open_stage(lease=LEASE)
    crew = [stage.worker(conf={"PREFETCH_MAX": 1, "SHUTDOWN_GRACE": 0.5}) for _ in range(CREW)]
    pids = [worker.pid for worker in crew]
    for number, how in enumerate(itertools.islice(itertools.cycle(WRITES), ROUNDS)):
        gate = freeze_all(stage, crew, how, number)
        zombies = rows(stage, pid__in=pids, state="running")
        heir = Heir(stage, CREW)
        gate.touch()
        wake(crew)
        heir.wait_until(
            lambda zombies=zombies: len(rows(stage, pid__in=pids, state="running") - zombies) == CREW,
            "all have noticed, and begin anew",
        )
        heir.check(stage)
        assert not rows(stage, id__in=zombies, state="running")
        assert not any(stage.queue.heartbeat(zombie) for zombie in zombies), "a heartbeat of a zombie is accepted"
        stage.queue.leave(heir.me.id)

    freeze_all(stage, crew, "never", "release")
    heir = Heir(stage, CREW)
    wake(crew, signal.SIGTERM)
    heir.wait_until(lambda: all(worker.poll() is not None for worker in crew), "they give their jobs back and end")
    heir.check(stage)
    assert [finish(worker)[0] for worker in crew] == [0] * CREW
    assert stage.is_settled()
