"""`kill -9` at every point of a job's life: nothing is lost, nothing made up, and nothing runs twice before the lease.

Each case starts a real process that kills itself at a failpoint, sees that it got there, lets a clean worker finish,
and then compares three books: what the producer was told, what the jobs wrote down, and what the store says.
In CI the main points run on SQLite, PostgreSQL and Valkey; `JOBQUEUE_CRASH_POINTS=all` runs all of them, on MariaDB and
Redis 6.2 too.
"""

from __future__ import annotations

import os
import signal

import pytest
from django.contrib.auth.models import Group

from django_jobqueue import failpoints
from tests.crash import tasks
from tests.crash.books import KINDS, ONE_BY_ONE
from tests.crash.cases import POINTS, REACHED, WORKER_CASES, Case, chosen, on_stores
from tests.crash.ledger import acknowledged, intended
from tests.crash.processes import finish
from tests.waiting import wait_until

# the worker


@chosen(*WORKER_CASES)
def test_a_worker_dies(books, monkeypatch, case):
    monkeypatch.setitem(KINDS, "head", case.first.name)
    head = books.push_one_of_each(case.first)
    books.die(books.stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:kill:{case.nth}"))
    at_death = books.stage.was_settled(head)
    books.finish()
    books.compare()
    if case.nth > 1:
        return
    if case.point == "settle.committed" or case.point.startswith("record."):
        assert at_death, "what was committed is there, though nobody heard of it"
        assert "lost" not in books.stage.outcomes(head)
    elif case.point.startswith("settle."):
        assert not at_death, "what was not committed is not there"
        assert books.stage.outcomes(head)["lost"] == 1


@on_stores
@pytest.mark.parametrize("moment", ["job.started", "job.finished"])
def test_a_worker_dies_in_a_job(books, moment):
    head = books.push_one_of_each(tasks.work)
    books.die(books.stage.worker(conf=ONE_BY_ONE, JOBQUEUE_TEST_DIE_AT=moment))
    books.finish()
    books.compare()
    assert books.stage.outcomes(head) == {"lost": 1, "completed": 1}
    assert books.stage.names("start").count("head") == 2
    assert books.stage.names("end").count("head") == (1 if moment == "job.started" else 2)


@chosen(Case("atomic.before_commit"), Case("settle.before_commit", main=False), Case("atomic.committed"))
def test_p4_a_worker_dies_in_an_atomic_job(books, case):
    """Before the commit neither its work nor its completion is stored; after it both are, and nobody runs it again."""
    stage = books.stage
    job_id = books.push(tasks.transfer, "moved")
    books.push(tasks.work, "last")
    books.die(stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    effects = Group.objects.using(stage.alias).filter(name__startswith="moved-")
    committed = case.point == "atomic.committed"
    assert (effects.count(), stage.live()) == ((1, 1) if committed else (0, 2))
    books.finish()
    books.compare()
    assert effects.count() == 1
    assert stage.outcomes(job_id) == ({"completed": 1} if committed else {"lost": 1, "completed": 1})


@chosen(Case("promote.before_commit"), Case("claim.before_commit", main=False), Case("claim.committed", main=False))
def test_a_worker_dies_while_a_job_becomes_due(books, case):
    books.push(tasks.work, "head", delay=0)
    books.push(tasks.work, "second", delay=0)
    books.die(books.stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    books.finish()
    books.compare()


@chosen(Case("reclaim.before_commit"), Case("reclaim.committed"), Case("settle.half_written", main=False))
def test_a_worker_dies_while_it_takes_back_what_a_dead_one_held(books, case):
    stage = books.stage
    head = books.push_one_of_each(tasks.work)
    books.hold_head(is_over=True)
    books.die(stage.worker(conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    books.finish()
    assert stage.outcomes(head) == {"lost": 1, "completed": 1}, "the crash is counted once"
    assert stage.names("start").count("head") == 1
    books.compare()


@chosen(Case("declare_dead.before_commit"), Case("declare_dead.committed"))
def test_who_saw_a_worker_die_dies_too(books, case):
    """Before the commit the leases are as they were; after it they are in the line, and saying it again is nothing."""
    stage = books.stage
    head = books.push_one_of_each(tasks.work)
    gone = books.hold_head()
    say_so = ["tests.crash.actors", "declare_dead", stage.alias, str(gone.id)]
    books.die(stage.start(*say_so, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    assert stage.leases() == (1 if case.point == "declare_dead.before_commit" else 0)

    assert finish(stage.start(*say_so))[0] == 0  # its successor says so again
    assert stage.leases() == 0
    books.finish()
    assert stage.outcomes(head) == {"lost": 1, "completed": 1}, "the crash is counted once"
    books.compare()


@chosen(Case("request_cancel.before_commit"), Case("request_cancel.committed"))
def test_who_asks_a_job_to_stop_dies(books, case):
    """Before the commit the job is lost and runs again as any other; after it the loss of its worker ends it."""
    stage = books.stage
    head = books.push_one_of_each(tasks.work)
    gone = books.hold_head()
    ask = ["tests.crash.actors", "request_cancel", stage.alias, str(head)]
    books.die(stage.start(*ask, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    was_told = case.point == "request_cancel.committed"
    assert stage.queue.cancellations(gone.id) == ({head: False} if was_told else {})
    wait_until(lambda: stage.queue.declare_dead(gone.id) == 1, "the server has let go of the lease")
    if was_told:
        assert stage.outcomes(head) == {"cancelled": 1}
        del books.jobs["head"]
        stage.history().filter(job_id=head).delete()
    books.finish()
    books.compare()
    assert stage.names("start").count("head") == (0 if was_told else 1)


@chosen(Case("age.before_commit"))
def test_who_lets_jobs_age_dies(books, case):
    """Before the commit they have the priority they had, and the next one who looks finds them."""
    stage = books.stage
    ids = [books.push(tasks.work, name, priority=priority) for name, priority in (("low", -9), ("high", 7))]
    age = ["tests.crash.actors", "age", stage.alias]
    books.die(stage.start(*age, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    assert [stage.queue.find(job_id).priority for job_id in ids] == [-9, 7]
    assert finish(stage.start(*age))[0] == 0
    assert [stage.queue.find(job_id).priority for job_id in ids] == [7, 7]
    books.finish()
    books.compare()
    assert stage.names("start") == ["low", "high"]


@chosen(Case("leave.before_commit"), Case("leave.committed", main=False))
def test_a_worker_dies_while_it_signs_off(books, case):
    books.push_one_of_each(tasks.work)
    books.die(books.stage.worker("--max-jobs", "2", conf=ONE_BY_ONE, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    assert books.stage.leases() == 0, "all was settled before"
    books.finish()
    books.compare()
    assert books.stage.outcomes()["lost"] == 0


@chosen(Case("settle.before_commit"), Case("settle.committed", main=False))
def test_a_worker_dies_in_its_flusher(books, case):
    """The settlements of quick jobs, and what is given back, while a slow job runs."""
    stage = books.stage
    gate = stage.directory / "gate"
    for n in range(5):
        books.push(tasks.work, f"quick{n}")
    books.jobs["slow"] = stage.push(tasks.gated, "slow", str(gate))
    for n in range(3):
        books.push(tasks.work, f"behind{n}")
    # quick0, then four of them, then what the slow one came with: the third settlement is the flusher's
    books.die(stage.worker(conf={"PREFETCH_SECONDS": 0.3}, JOBQUEUE_FAILPOINT=f"{case.point}:kill:3"))
    gate.touch()
    books.finish()
    books.compare()


# the producer and the operator


@chosen(Case("enqueue.before_commit", nth=3), Case("enqueue.committed", nth=3))
def test_a_producer_dies(books, case):
    stage = books.stage
    told = stage.directory / "producer"
    books.die(
        stage.start(
            *("tests.crash.actors", "produce", stage.alias, str(told), "5"),
            JOBQUEUE_FAILPOINT=f"{case.point}:kill:{case.nth}",
        )
    )
    meant, acked = intended(told), acknowledged(told)
    assert (len(meant), len(acked)) == (3, 2)
    # PostgreSQL's push is one statement: there is no moment of ours between its writes and their commit
    stored = 2 if case.point == "enqueue.before_commit" and stage.alias != "postgres" else 3
    books.jobs.update({f"made{n}": job_id for n, job_id in enumerate(meant[:stored])})
    assert stage.live() == stored, "the one that was not acknowledged is there whole or not at all"
    books.finish()
    books.compare()


@chosen(Case("outbox.before_commit", nth=3), Case("outbox.committed", nth=3), Case("outbox.delivered", nth=3))
def test_a_producer_dies_in_a_transaction(books, case):
    """The commit decides: before it there is no job, after it there is one, wherever it is on its way."""
    stage = books.stage
    told = stage.directory / "producer"
    books.die(
        stage.start(
            *("tests.crash.actors", "produce_in_transactions", stage.alias, str(told), "5"),
            JOBQUEUE_FAILPOINT=f"{case.point}:kill:{case.nth}",
        )
    )
    meant, acked = intended(told), acknowledged(told)
    assert (len(meant), len(acked)) == (3, 2)
    stored = 2 if case.point == "outbox.before_commit" else 3
    books.jobs.update({f"made{n}": job_id for n, job_id in enumerate(meant[:stored])})
    assert [stage.queue.find(job_id) is not None for job_id in meant] == [True, True, stored == 3]
    assert stage.outbox() == stored - 2, "what was not seen to arrive is still on its way"
    books.finish()
    books.compare()
    assert [len(stage.lines("start", f"made{n}")) for n in range(3)] == [1, 1, stored - 2]


@chosen(Case("revive.before_commit"), Case("revive.committed"))
def test_an_operator_dies_while_dead_letters_are_retried(books, case):
    stage = books.stage
    ids = [books.push(tasks.doomed, "doomed"), books.push(tasks.flaky, "flaky")]
    books.finish()
    assert list(stage.dead()) == ids[:1]
    revive = ["tests.crash.actors", "revive", stage.alias, str(ids[0])]
    books.die(stage.start(*revive, JOBQUEUE_FAILPOINT=f"{case.point}:kill"))
    committed = case.point == "revive.committed"
    assert (len(stage.dead()), stage.live()) == ((0, 1) if committed else (1, 0)), "in one place, never in both"

    assert finish(stage.start(*revive))[0] == 0  # the operator tries again
    assert (len(stage.dead()), stage.live()) == (0, 1)
    books.finish()
    assert stage.outcomes(ids[0]) == {"failed": 2}
    [letter] = stage.dead().values()
    assert (letter.lease_no, letter.attempt, letter.times_retried) == (2, 1, 1)


# the points themselves


def test_every_point_has_a_case():
    assert REACHED["kill"] == POINTS


def test_without_the_variable_a_point_is_an_empty_function():
    assert failpoints.VARIABLE not in os.environ
    assert failpoints.hit is failpoints._nothing


@pytest.mark.parametrize("text", ["claim.committed", "nowhere:kill", "claim.committed:dance", "claim.committed:kill:x"])
def test_a_point_that_does_not_exist_is_refused(text):
    with pytest.raises(ValueError, match="JOBQUEUE_FAILPOINT"):
        failpoints.armed(text)


def test_the_nth_time(monkeypatch):
    sent = []
    monkeypatch.setattr(failpoints.os, "kill", lambda pid, number: sent.append((pid, number)))
    hit = failpoints.armed("claim.committed:term:2")
    for point in ("claim.committed", "settle.committed", "claim.committed", "claim.committed"):
        hit(point)
    assert sent == [(os.getpid(), signal.SIGTERM)]
