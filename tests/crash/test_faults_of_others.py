"""What producers and operators do at their points, and atomic jobs: frozen there, or told that nobody answers.

Who gets an error does the same again, with the same ids: before a commit nothing was done, after it the answer was
lost, and either way it is done once in the end. Who is frozen for longer than a lease changes nothing when it wakes up.
"""

from __future__ import annotations

import signal
import time

import pytest
from django.contrib.auth.models import Group

import tests.crash.test_faults  # noqa: F401 (its cases count, too)
from django_jobqueue import failpoints
from django_jobqueue.workers.process import is_frozen
from tests.crash import tasks
from tests.crash.books import LEASE, ONE_BY_ONE
from tests.crash.cases import ALL, POINTS, REACHED, STORES, Case, chosen
from tests.crash.fixtures import MARIADB, REDIS
from tests.crash.ledger import acknowledged, intended
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until

# the others are killed at these points in CI, see test_matrix.py
ON = STORES if ALL else [MARIADB, REDIS]
ONE = STORES if ALL else [REDIS]
COUNT = 4


@pytest.fixture(params=["freeze", "error"])
def fault(request):
    return request.param


def put_through(stage, case, fault, *words):
    """Somebody who is frozen, or gets an error, at this point, and comes to a good end all the same."""
    action = "stop" if fault == "freeze" else failpoints.ERROR
    actor = stage.start("tests.crash.actors", *words, JOBQUEUE_FAILPOINT=f"{case.point}:{action}:{case.nth}")
    if fault == "freeze":
        wait_until(lambda: is_frozen(actor.pid), f"{case.point} is reached")
        over = time.monotonic() + 1.5 * LEASE
        wait_until(lambda: time.monotonic() > over)
        actor.send_signal(signal.SIGCONT)
    code, _, err = finish(actor)
    assert code == 0, err
    assert fault == "freeze" or f"failpoint {case.point}" in err, "the point was not reached"


def both(*cases, stores=ON):
    """For the fixture `fault`."""
    REACHED["freeze"] |= {case.point for case in cases}
    return chosen(*cases, fault="error", stores=stores)


@both(
    *(Case("enqueue.before_commit", nth=3, main=False), Case("enqueue.committed", nth=3)),
    *(Case("outbox.before_commit", nth=3, main=False), Case("outbox.committed", nth=3)),
    Case("outbox.delivered", nth=3, main=False),
)
def test_what_a_producer_was_told_is_stored_once(books, case, fault):
    stage = books.stage
    told = stage.directory / "producer"
    act = "produce_in_transactions" if case.point.startswith("outbox") else "produce"
    put_through(stage, case, fault, act, stage.alias, str(told), str(COUNT))
    meant = intended(told)
    assert (len(meant), list(acknowledged(told))) == (COUNT, list(meant))
    books.jobs.update({f"made{n}": job_id for n, job_id in enumerate(meant)})
    books.finish()
    books.compare()
    assert [len(stage.lines("start", f"made{n}")) for n in range(COUNT)] == [1] * COUNT


@both(Case("revive.before_commit", main=False), Case("revive.committed"))
def test_a_dead_letter_is_retried_once(books, case, fault):
    stage = books.stage
    dead = books.push(tasks.doomed, "doomed")
    books.finish()
    put_through(stage, case, fault, "revive", stage.alias, str(dead))
    assert (len(stage.dead()), stage.live()) == (0, 1)
    books.finish()
    assert stage.outcomes(dead) == {"failed": 2}
    [letter] = stage.dead().values()
    assert (letter.lease_no, letter.attempt, letter.times_retried) == (2, 1, 1)


def lost_job(books):
    """A job in the hands of somebody who says no more."""
    head = books.push_one_of_each(tasks.work)
    return books.hold_head(), head


@both(Case("declare_dead.before_commit", main=False), Case("declare_dead.committed"), stores=ONE)
def test_a_death_is_counted_once(books, case, fault):
    gone, head = lost_job(books)
    put_through(books.stage, case, fault, "declare_dead", books.stage.alias, str(gone.id))
    assert books.stage.leases() == 0
    books.finish()
    assert books.stage.outcomes(head) == {"lost": 1, "completed": 1}
    books.compare()


@both(Case("request_cancel.before_commit", main=False), Case("request_cancel.committed"), stores=ONE)
def test_a_job_is_asked_to_stop_once(books, case, fault):
    """The lease is over when one that was frozen wakes up, but nobody has taken it: the job is still running."""
    gone, head = lost_job(books)
    stage = books.stage
    put_through(stage, case, fault, "request_cancel", stage.alias, str(head))
    assert stage.queue.cancellations(gone.id) == {head: False}
    assert stage.queue.declare_dead(gone.id) == 1
    assert stage.outcomes(head) == {"cancelled": 1}
    del books.jobs["head"]
    stage.history().filter(job_id=head).delete()
    books.finish()
    books.compare()


@both(Case("age.before_commit"))
def test_jobs_age_once(books, case, fault):
    stage = books.stage
    ids = [books.push(tasks.work, name, priority=priority) for name, priority in (("low", -9), ("high", 7))]
    put_through(stage, case, fault, "age", stage.alias)
    assert [stage.queue.find(job_id).priority for job_id in ids] == [7, 7]
    books.finish()
    books.compare()
    assert stage.names("start") == ["low", "high"]


# atomic jobs

ATOMIC = [Case("atomic.before_commit"), Case("atomic.committed", main=False)]
ATOMIC += [Case("settle.before_commit", main=False)]


def effects(stage):
    return Group.objects.using(stage.alias).filter(name__startswith="moved-").count()


@chosen(*ATOMIC, fault="error", stores=ON)
def test_p4_an_atomic_job_gets_an_error(books, case):
    """It may be charged for it, and tried again: what it has written is there once, with its completion."""
    stage = books.stage
    moved = stage.push(tasks.transfer, "moved")
    books.push(tasks.work, "last")
    worker = stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:error")
    wait_until(lambda: stage.queue.run_now(moved) or stage.is_settled(), "it is tried again, or over")
    wait_until(stage.is_settled, f"all settled; live: {stage.live()}", 90)
    code, _, err = terminate(worker)
    assert code == 0, err
    assert f"failpoint {case.point}" in err, "the point was not reached"
    assert effects(stage) == 1
    assert stage.outcomes(moved)["completed"] == 1
    assert not stage.outcomes()["lost"], "it lived: no lease has ended"


@chosen(*ATOMIC, fault="freeze", stores=ON)
def test_p4_an_atomic_job_is_frozen_for_longer_than_its_lease(books, case):
    """Before the commit its lease is locked by its own transaction: nobody can take it, and it completes late."""
    stage = books.stage
    moved = stage.push(tasks.transfer, "moved")
    frozen = stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:stop")
    wait_until(lambda: is_frozen(frozen.pid), f"{case.point} is reached")
    other = stage.worker(conf=ONE_BY_ONE)
    over = time.monotonic() + 1.5 * LEASE
    wait_until(lambda: time.monotonic() > over)
    frozen.send_signal(signal.SIGCONT)
    wait_until(stage.is_settled, f"all settled; live: {stage.live()}", 90)
    wait_until(lambda: stage.has_joined(other), "the other one is there")
    assert [terminate(worker)[0] for worker in (frozen, other)] == [0, 0]
    assert effects(stage) == 1
    assert stage.outcomes(moved)["completed"] == 1
    assert len(stage.lines("start", "moved")) == 1 + stage.outcomes(moved)["lost"]


# the points themselves


@pytest.mark.parametrize("kind", ["freeze", "error"])
def test_every_point_has_a_case_of_each_kind(kind):
    assert REACHED[kind] == POINTS
