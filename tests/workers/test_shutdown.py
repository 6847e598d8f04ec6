"""P: a worker that is told to stop leaves nothing behind: no lease, no attempt spent, no job out of its place."""

from __future__ import annotations

import gc
import io
import os
import random
import signal
import time

import pytest
from django.core.management import call_command

from django_jobqueue.queues.bell import Bell
from django_jobqueue.workers import shutdown
from django_jobqueue.workers.alarm import alarm
from django_jobqueue.workers.interruption import Interrupted
from django_jobqueue.workers.place import Place
from django_jobqueue.workers.shutdown import HURRY_SIGNAL, StopSignals
from django_jobqueue.workers.supervisor import Supervisor
from tests.crash import tasks
from tests.crash.fixtures import MOST, at_points, on_all, on_most, on_postgres, on_sqlite
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until

SEEDS = range(30 if os.environ.get("JOBQUEUE_CRASH_POINTS") == "all" else 8)


@on_all
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_the_running_job_finishes_and_the_others_go_back_to_their_places(open_stage, number):
    stage = open_stage()
    gate = stage.directory / "gate"
    for n in range(5):  # so that the worker learns to fetch several at once
        stage.push(tasks.work, f"quick{n}")
    stage.push(tasks.gated, "slow", str(gate))
    waiting = [stage.push(tasks.work, f"later{n}") for n in range(6)]
    worker = stage.worker(conf={"PREFETCH_SECONDS": 3_600})
    stage.wait_for("start", "slow")
    wait_until(lambda: stage.leases() > 1, "jobs fetched together with the slow one")

    worker.send_signal(number)
    gate.touch()
    code, out, _ = finish(worker)

    assert code == 0
    assert "released" in out
    assert stage.names("end") == [f"quick{n}" for n in range(5)] + ["slow"]
    assert stage.leases() == 0
    assert not stage.attempts_burnt()
    assert stage.workers("running", "stopping") == 0
    stage.worker("--drain").communicate()
    assert stage.names("start")[6:] == [f"later{n}" for n in range(6)]
    assert all(stage.outcomes(job_id) == {"completed": 1} for job_id in waiting)


@on_most
def test_the_second_signal_interrupts_the_job_and_gives_it_back(open_stage):
    stage = open_stage()
    job_id = stage.push(tasks.gated, "slow", str(stage.directory / "never"))
    worker = stage.worker()
    stage.wait_for("start", "slow")

    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: stage.workers("stopping"), "a heartbeat that says it")
    code, _, _ = terminate(worker, signal.SIGINT)

    assert code == 0
    assert stage.leases() == 0
    assert stage.queue.find(job_id).attempt == 0
    assert not stage.outcomes()


@on_most
def test_the_end_of_the_grace_interrupts_the_job(open_stage):
    stage = open_stage()
    job_id = stage.push(tasks.gated, "slow", str(stage.directory / "never"))
    worker = stage.worker(conf={"SHUTDOWN_GRACE": 0.2})
    stage.wait_for("start", "slow")

    began = time.monotonic()
    code, _, _ = terminate(worker)

    assert code == 0
    assert 0.2 <= time.monotonic() - began < 20.0  # the usual grace is 30
    assert stage.leases() == 0
    assert stage.queue.find(job_id).attempt == 0


@on_sqlite
def test_a_job_that_swallows_the_interruption_is_interrupted_again(open_stage):
    stage = open_stage()
    stage.push(tasks.stubborn, "mule")
    worker = stage.worker(conf={"SHUTDOWN_GRACE": 0.1})
    stage.wait_for("start", "mule")
    code, _, _ = terminate(worker)
    assert stage.names("swallowed") == ["mule"]
    assert code == 0
    assert stage.leases() == 0


@on_sqlite
def test_a_signal_during_start_up_is_not_lost(open_stage):
    """Told to stop before it has joined: it does not even begin to work."""
    stage = open_stage()
    stage.push(tasks.work, "one")
    worker = stage.worker(JOBQUEUE_FAILPOINT="join.committed:term")
    code, _, _ = finish(worker)
    assert code == 0
    assert stage.lines() == []
    assert stage.leases() == 0


@at_points(
    MOST,
    [
        *("claim.before_commit", "claim.committed", "settle.before_commit", "settle.committed", "leave.committed"),
        *("record.before", "record.committed"),
    ],
)
def test_a_signal_at_a_move(open_stage, point):
    """django-tasks-db leaves the job running for ever when the signal lands just after the claim."""
    stage = open_stage()
    stage.push_many(tasks.work, 6)
    limit = ["--max-jobs", "4"] if point.startswith("leave") else []
    code, _, err = finish(stage.worker(*limit, JOBQUEUE_FAILPOINT=f"{point}:term"))
    assert (code, stage.leases()) == (0, 0), err
    assert not stage.attempts_burnt()
    assert stage.live() + stage.outcomes()["completed"] == 6
    assert sorted(stage.names("start")) == sorted(stage.names("end"))


@on_most
@pytest.mark.parametrize("seed", SEEDS)
def test_a_signal_at_any_moment(open_stage, seed):
    stage = open_stage()
    chance = random.Random(seed)
    stage.push_many(tasks.flaky, 20, "flaky")
    stage.push_many(tasks.work, 280)
    began = time.monotonic()
    worker = stage.worker()
    if seed % 4:  # while it works; else while it starts
        stage.wait_for("end", count=1)
        moment = time.monotonic() + chance.uniform(0, 0.3)
    else:
        moment = began + chance.uniform(0.05, 0.6)
    wait_until(lambda: time.monotonic() >= moment)
    code, _, err = terminate(worker)

    joined = stage.workers("running", "stopping", "stopped", "dead")
    assert code == 0 or (code == -signal.SIGTERM and not joined), err  # before our first line Python decides
    assert stage.leases() == 0
    assert stage.workers("running", "stopping", "dead") == 0
    assert not stage.attempts_burnt()
    assert stage.outcomes()["lost"] == 0
    assert stage.live() + stage.outcomes()["completed"] == 300
    assert len(stage.names("end")) == len(set(stage.names("end"))) == stage.outcomes()["completed"]


@on_postgres
def test_an_idle_worker_stops_at_once(open_stage):
    stage = open_stage()
    stage.push(tasks.work, "one")
    worker = stage.worker(conf={"POLL_INTERVAL": 60})
    stage.wait_for("end", "one")
    wait_until(lambda: stage.live() == 0)
    began = time.monotonic()
    code, _, _ = terminate(worker)
    assert code == 0
    assert time.monotonic() - began < 20.0  # it would look again in 60


def test_a_bell_may_be_rung_by_a_signal_handler_at_any_moment():
    """`threading.Event.set` may not: in a handler it waits for ever for the lock of the `wait` it has interrupted."""
    bell, rung = Bell(), []

    def ring(*_):
        rung.append(1)
        bell.ring()

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        wait_until(lambda: bell.wait(0.0001) and len(rung) > 2_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_bell_rings_once_for_who_waits_next():
    bell = Bell()
    assert not bell.wait(0)
    bell.ring()
    assert bell.wait(10)
    assert not bell.wait(0)


def test_a_second_signal_while_the_children_are_told_of_the_first_reaches_them_after_it():
    heard = []

    class Listening(Place):
        def send(self, number):
            heard.append((self.number, number))
            if len(heard) == 1:
                signal.raise_signal(signal.SIGINT)

    with Supervisor(grace=30.0) as parent:
        parent._places = [Listening("default", 1), Listening("default", 2)]
        signal.raise_signal(signal.SIGTERM)
    assert {n: [what for one, what in heard if one == n].count(signal.SIGTERM) for n in (1, 2)} == {1: 1, 2: 1}
    assert [what for _, what in heard].count(HURRY_SIGNAL) == 2


class Busy:
    """A worker in the middle of a job."""

    is_in_job = True
    is_stopping = False

    def run(self):
        signal.raise_signal(signal.SIGTERM)

    def stop(self):
        self.is_stopping = True

    def interrupt(self):
        raise Interrupted


@pytest.mark.parametrize(("is_child", "second"), [(True, HURRY_SIGNAL), (False, signal.SIGINT)], ids=["child", "alone"])
def test_a_second_signal_in_the_middle_of_the_first_does_not_make_it_forgotten(monkeypatch, is_child, second):
    """It interrupted the job, and the worker went on with the next one until it was killed."""
    signals, worker = StopSignals(grace=30.0, is_child=is_child), Busy()
    moments = iter([lambda: signal.raise_signal(second)])
    monkeypatch.setattr(alarm, "at", lambda *_: next(moments, lambda: None)())
    with signals, pytest.raises(Interrupted):
        signals.run(worker)
    assert worker.is_stopping


@pytest.mark.django_db(transaction=True)
def test_the_command_does_not_end_with_a_look_at_every_object(monkeypatch):
    """It took a fifth of a second of CPU, and seconds on a busy machine, after the worker had signed off."""
    registered = []
    monkeypatch.setattr(shutdown.atexit, "register", registered.append)
    call_command("queue_work", "--once", stdout=io.StringIO())
    assert registered == [gc.freeze]
