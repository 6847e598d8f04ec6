"""A machine that was suspended for longer than a lease: who wakes up first must not take the others for dead.

With JOBQUEUE_CRASH_POINTS=all on every store.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from django_jobqueue.lifecycle.vigil import Vigil, clock
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers import membership
from django_jobqueue.workers.background import Rhythm
from django_jobqueue.workers.board import Board, Seat
from django_jobqueue.workers.membership import SeatedMembership
from django_jobqueue.workers.worker import Limits, Worker
from tests import proc
from tests.crash import tasks
from tests.crash.cases import ALL
from tests.crash.fixtures import MOST, POSTGRES, SQLITE
from tests.crash.processes import terminate
from tests.queues.hooks import LONG_AGO
from tests.waiting import wait_until

LEASE = 2.5

LATE = """
import os
import time
from pathlib import Path
from django.core.checks import register
from tests.crash.settings import *

def later(beat):
    def beat_later(*args):
        time.sleep(0.4)
        return beat(*args)
    return beat_later

def marked(reclaim):
    def reclaim_marked(queue):
        mark = Path(f"{os.environ['JOBQUEUE_TEST_LEDGER']}.reclaims.{os.getpid()}")
        mark.touch()
        try:
            return reclaim(queue)
        finally:
            mark.unlink()
    return reclaim_marked

@register
def beats_come_after_all_else(app_configs, **kwargs):
    from django_jobqueue.queues import get_queue
    from django_jobqueue.workers import heart, membership

    heart.Beats._beat = later(heart.Beats._beat)
    membership.Membership.beat = later(membership.Membership.beat)
    kind = type(get_queue(os.environ["JOBQUEUE_TEST_ALIAS"]))
    kind.reclaim = marked(kind.reclaim)
    return []
"""
"""On a busy machine, or when the network is slow to come back. And it is seen who is in the middle of a reclaim."""


def late_of(stage):
    """For a second command on this stage."""
    path = os.pathsep.join([str(stage.directory), os.getcwd()])
    return {"DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": path}


def send(groups, number, state):
    for group in groups:
        os.killpg(group.pid, number)
    pids = [pid for group in groups for pid in (group.pid, *proc.children(group.pid))]
    wait_until(lambda: all((proc.state(pid) == "T") == (state == "T") for pid in pids), f"all are in {state}")


def suspend(stage, *groups, meanwhile=lambda: None):
    """All processes of these commands at once, as when the machine is suspended, for longer than a lease. None in the
    middle of a reclaim, which would go on with it as soon as it wakes: that is one moment in a few hundred.
    """

    def is_apart():
        send(groups, signal.SIGSTOP, "T")
        if not list(stage.directory.glob("*.reclaims.*")):
            return True
        return send(groups, signal.SIGCONT, "S")

    wait_until(is_apart, "nobody reclaims")
    over = time.monotonic() + 1.5 * LEASE
    meanwhile()
    wait_until(lambda: time.monotonic() > over)
    send(groups, signal.SIGCONT, "S")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("alias", MOST if ALL else [POSTGRES])
def test_a_host_that_was_suspended_does_not_take_its_own_jobs_back(crew, alias):
    stage, parent = crew("--no-scheduler", lease=LEASE, settings=LATE)
    gate = stage.directory / "gate"
    for n in range(2):
        stage.push(tasks.gated, f"slow{n}", str(gate))
    lines = stage.wait_for("start", count=2)
    wait_until(lambda: stage.workers("running") == 2, "both are known")
    suspend(stage, parent)
    killed = lines[0].name
    os.kill(lines[0].pid, signal.SIGKILL)  # it is buried all the same, and who takes its place leaves the others alone
    stage.wait_for("start", killed, count=2)
    over = time.monotonic() + Vigil(LEASE, 0.0).hearing + 1.0  # by then it reclaims again
    wait_until(lambda: time.monotonic() > over)
    gate.touch()
    wait_until(stage.is_settled)
    code, _, err = terminate(parent)
    assert code == 0, err
    assert stage.outcomes() == {"completed": 2, "lost": 1}, err
    assert stage.names("start").count(killed) == 2


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("alias", MOST if ALL else [POSTGRES])
def test_a_worker_that_was_suspended_does_not_take_the_jobs_of_its_neighbours(crew, alias):
    """Each is a command of its own, of one process."""
    stage, worker = crew("--no-scheduler", lease=LEASE, processes=0, settings=LATE)
    gate = stage.directory / "gate"
    stage.push(tasks.gated, "slow", str(gate))
    stage.wait_for("start")
    idle = stage.worker("--no-scheduler", new_session=True, **late_of(stage))
    wait_until(lambda: stage.workers("running") == 2, "both are known")
    suspend(stage, worker, idle)
    over = time.monotonic() + Vigil(LEASE, 0.0).hearing + 1.0
    wait_until(lambda: time.monotonic() > over)
    gate.touch()
    wait_until(stage.is_settled)
    said = {name: terminate(process) for name, process in (("at work", worker), ("idle", idle))}
    assert [code for code, *_ in said.values()] == [0, 0], said
    assert stage.outcomes() == {"completed": 1}, said


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("alias", MOST if ALL else [SQLITE])
def test_a_scheduler_that_was_suspended_does_not_take_the_jobs_of_workers(crew, alias):
    """Its chore is due at the moment it wakes up."""
    stage, worker = crew("--no-scheduler", lease=LEASE, processes=0, settings=LATE)
    gate = stage.directory / "gate"
    stage.push(tasks.gated, "slow", str(gate))
    stage.wait_for("start")
    scheduler = stage.start("django", "scheduler_run", "--backend", alias, new_session=True, **late_of(stage))
    chore = RecurringJob.objects.using(stage.database).filter(name="chore:reclaim")
    wait_until(chore.exists, "the scheduler is at work")
    chore.update(due_at=None)  # until all sleep
    suspend(stage, worker, scheduler, meanwhile=lambda: chore.update(due_at=LONG_AGO, next_run_at=LONG_AGO))
    over = time.monotonic() + Vigil(LEASE, 0.0).hearing + 1.0
    wait_until(lambda: time.monotonic() > over)
    assert chore.get().last_run_at is not None
    gate.touch()
    wait_until(stage.is_settled)
    said = {name: terminate(process) for name, process in (("at work", worker), ("scheduler", scheduler))}
    assert [code for code, *_ in said.values()] == [0, 0], said
    assert stage.outcomes() == {"completed": 1}, said


@pytest.mark.django_db(transaction=True)
def test_who_wakes_up_first_hears_the_others_before_it_reclaims(monkeypatch):
    """A second worker on the same machine has a job, and its heartbeat comes later."""
    queue, awake = MemoryQueue(), [0.0]
    monkeypatch.setattr(membership, "clock", lambda: time.monotonic() + awake[0])
    monkeypatch.setattr(queue, "reclaim", lambda: reclaims.append(1) or 0)
    reclaims, worker = [], Worker(queue)
    worker._membership.join()
    worker._reclaim_sometimes()
    assert len(reclaims) == 1
    for asleep, seen in [(2 * queue.lease, 1), (11.9, 1), (0.1, 2)]:  # the rhythm and a pause: 12 s
        awake[0] += asleep
        worker._next_reclaim = 0.0
        worker._trust_the_leases()
        worker._beat()
        worker._reclaim_sometimes()
        assert len(reclaims) == seen


def test_a_child_leaves_it_to_its_heart_unless_it_drains(monkeypatch):
    for drain, seen in [(False, 0), (True, 1)]:
        queue, board, reclaims = MemoryQueue(), Board(["default"]), []
        monkeypatch.setattr(queue, "reclaim", lambda reclaims=reclaims: reclaims.append(1) or 0)
        board.slots[0].open()
        seated = SeatedMembership(queue, (), Seat(board.slots[0], board, "child"))
        worker = Worker(queue, limits=Limits(drain=drain), membership=seated)
        worker._membership.join()
        worker._reclaim_sometimes()
        assert len(reclaims) == seen


# the vigil


def vigil_at(answers, lease=30.0):
    vigil = Vigil(lease, 0.0)
    for moment in answers:
        vigil.answered(moment)
    return vigil


def test_who_was_in_touch_all_the_time_may_tell_at_once_and_so_may_who_has_just_begun():
    assert Vigil(30.0, 100.0).may_tell(100.0)
    assert vigil_at(range(0, 100, 19)).may_tell(100.0)


def test_who_was_out_of_touch_lets_each_one_living_be_heard_first():
    vigil = vigil_at([5.0, 65.0])
    assert not vigil.may_tell(65.0)
    assert not vigil.may_tell(76.9)  # a rhythm of 10 s, and a pause of 2 s
    assert vigil.may_tell(77.0)


def test_who_has_not_been_answered_since_it_woke_up_may_not_tell():
    assert not vigil_at([5.0]).may_tell(65.0)


def test_a_second_suspension_begins_the_wait_anew():
    vigil = vigil_at([5.0, 65.0, 70.0, 130.0])
    assert not vigil.may_tell(135.0)
    vigil.answered(140.0)
    assert vigil.may_tell(142.0)


@pytest.mark.parametrize("lease", [1.0, 2.5, 30.0, 60.0, 3_600.0])
def test_who_is_out_of_touch_for_a_gap_finds_nobody_silent_who_lives(lease):
    vigil, rhythm = Vigil(lease, 0.0), Rhythm(lease).pause
    assert lease - rhythm >= vigil.gap > rhythm
    assert vigil.hearing > rhythm


def test_its_clock_goes_on():
    before = clock()
    assert before <= clock() <= before + 60.0
