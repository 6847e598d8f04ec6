"""What a worker does at its points with other faults than death: frozen past the lease, an error, a lost answer.

A worker that is frozen at a point wakes up when its lease is over and others may have its jobs: whatever it does then
must change nothing. One that gets an error lives, and does all of it itself: before a commit nothing was done, after it
the store did what it was asked and the answer was lost. Each case sees that its point was reached.
"""

from __future__ import annotations

import signal
import time
from contextlib import nullcontext, suppress

import pytest

from django_jobqueue import failpoints
from django_jobqueue.workers.process import is_frozen
from tests.crash import tasks
from tests.crash.books import KINDS, LEASE, ONE_BY_ONE
from tests.crash.cases import ALL, WORKER_CASES, Case, chosen
from tests.crash.processes import finish, terminate
from tests.waiting import wait_until

MOMENTS = [
    *("join.committed", "claim.before_commit", "claim.committed", "settle.half_written", "settle.before_commit"),
    *("settle.committed", "record.before", "record.committed"),
]
# in CI each point once, with a job that completes; all cases with JOBQUEUE_CRASH_POINTS=all
CASES = WORKER_CASES if ALL else [Case(point) for point in MOMENTS]


def freeze(stage, case, *options):
    """A worker that stands still at its point."""
    worker = stage.worker(*options, conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:stop:{case.nth}")
    wait_until(lambda: is_frozen(worker.pid), f"{case.point} is reached")
    return worker


def beside(stage, case, frozen):
    """Another worker, which is there when the lease of the frozen one is over; then that one goes on.

    Not where the frozen one holds the lock of SQLite's only writer, which is where a worker of Redis has its row, too:
    it may have been writing its own at that moment.
    """
    other = stage.worker(conf=ONE_BY_ONE)
    holds_the_lock = stage.alias == "default" and case.point.endswith(("before_commit", "half_written"))
    if not holds_the_lock:
        with suppress(AssertionError) if stage.database == "default" else nullcontext():
            wait_until(lambda: stage.has_joined(other), "another one is there", 20)
    over = time.monotonic() + 1.5 * LEASE
    wait_until(lambda: time.monotonic() > over)
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: stage.has_joined(other), "another one is there")
    return other


@chosen(*CASES, fault="freeze")
def test_a_worker_is_frozen_for_longer_than_its_lease(books, monkeypatch, case):
    monkeypatch.setitem(KINDS, "head", case.first.name)
    books.push_one_of_each(case.first)
    stage = books.stage
    frozen = freeze(stage, case)
    other = beside(stage, case, frozen)
    wait_until(stage.is_settled, f"all settled; live: {stage.live()}", 90)
    for worker in (frozen, other):
        code, _, err = terminate(worker)
        assert code == 0, err
    books.compare()


@chosen(*CASES, fault="error")
def test_a_worker_gets_an_error(books, monkeypatch, case):
    monkeypatch.setitem(KINDS, "head", case.first.name)
    books.push_one_of_each(case.first)
    live_through(books, case)
    books.compare()
    assert not books.stage.outcomes()["lost"], "it lived: no lease has ended"


@chosen(Case("promote.before_commit"), fault="error")
def test_a_worker_gets_an_error_while_a_job_becomes_due(books, case):
    books.push(tasks.work, "head", delay=0)
    books.push(tasks.work, "second", delay=0)
    live_through(books, case)
    books.compare()


@chosen(Case("reclaim.before_commit"), Case("reclaim.committed"), fault="error")
def test_a_worker_gets_an_error_while_it_takes_back_what_a_dead_one_held(books, case):
    stage = books.stage
    head = books.push_one_of_each(tasks.work)
    books.hold_head(is_over=True)
    live_through(books, case)
    assert stage.outcomes(head) == {"lost": 1, "completed": 1}, "the crash is counted once"
    books.compare()


@chosen(
    *(Case("promote.before_commit", main=False), Case("reclaim.before_commit", main=False)),
    *(Case("reclaim.committed"), Case("leave.before_commit", main=False), Case("leave.committed", main=False)),
    fault="freeze",
)
def test_a_worker_is_frozen_while_it_moves_jobs_of_others(books, case):
    """One that is due, one of a dead worker, and what is left when it signs off."""
    stage = books.stage
    head = books.push(tasks.work, "head")
    books.hold_head(is_over=True)
    books.push(tasks.work, "due", delay=0)
    options = ("--max-jobs", "1") if case.point.startswith("leave") else ()
    frozen = freeze(stage, case, *options)
    other = beside(stage, case, frozen)
    wait_until(stage.is_settled, f"all settled; live: {stage.live()}", 90)
    codes = [finish(frozen)[0] if options else terminate(frozen)[0], terminate(other)[0]]
    assert codes == [0, 0]
    assert stage.outcomes(head) == {"lost": 1, "completed": 1}, "the crash is counted once"
    books.compare()


@chosen(Case("leave.before_commit"), Case("leave.committed"), fault="error")
def test_a_worker_gets_an_error_while_it_signs_off(books, case):
    books.push_one_of_each(tasks.work)
    live_through(books, case)
    assert books.stage.leases() == 0
    books.compare()


def live_through(books, case):
    """The worker that gets the error settles everything, and ends well."""
    stage = books.stage
    worker = stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:{failpoints.ERROR}:{case.nth}")
    wait_until(stage.is_settled, f"all settled; live: {stage.live()}", 90)
    code, _, err = terminate(worker)
    assert code == 0, err
    assert f"failpoint {case.point}" in err, "the point was not reached"


def test_an_error_is_raised_once(monkeypatch):
    hit = failpoints.armed("claim.committed:error:2")
    hit("claim.committed")
    with pytest.raises(failpoints.OperationalError, match=r"failpoint claim\.committed"):
        hit("claim.committed")
    hit("claim.committed")
