"""What a worker holds in memory between claim and settlement."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from django_jobqueue.lifecycle.outcomes import released
from django_jobqueue.queues.base import Reservation
from django_jobqueue.workers import outbox as outbox_module
from django_jobqueue.workers.outbox import Outbox


def job(number: int = 0) -> Reservation:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Reservation(
        uuid4() if not number else UUID(int=number), 1, 1, 0, "default", 0, "t", "{}", 1, None, 0, now, now, 0
    )


def test_jobs_start_in_the_order_they_came():
    outbox, given = Outbox(), [job(), job(), job()]
    outbox.receive(given[:2])
    outbox.receive(given[2:])
    assert [outbox.start_next().reservation for _ in given] == given
    assert outbox.start_next() is None


def test_one_that_must_run_alone_waits_for_who_may_start_it():
    outbox, given = Outbox(), [job()._replace(crashes=1), job(), job()._replace(crash_budget=1)]
    outbox.receive(given)
    assert outbox.start_next(False) is None
    assert outbox.start_next().reservation == given[0]
    assert outbox.start_next(False).reservation == given[1]
    assert outbox.start_next(False) is None
    assert (outbox.started, outbox.unstarted) == (2, 1)


def test_what_was_started_is_not_given_back():
    outbox, given = Outbox(), [job(), job(), job()]
    outbox.receive(given)
    outbox.start_next()
    assert outbox.take_unstarted() == given[1:]
    assert not outbox.has_unstarted
    assert outbox.start_next() is None


def test_settlements_leave_once_and_come_back_first():
    outbox = Outbox()
    first, second = released(job()), released(job())
    outbox.add([first])
    taken = outbox.take_settlements()
    assert outbox.take_settlements() == []
    outbox.add([second])
    outbox.put_back(taken)
    assert outbox.take_settlements() == [first, second]


def test_age_is_that_of_the_oldest_decision():
    outbox = Outbox()
    assert outbox.oldest_age == 0
    outbox.add([released(job())])
    age = outbox.oldest_age
    assert age > 0
    outbox.add([released(job())])
    assert outbox.oldest_age > age
    outbox.take_settlements()
    assert outbox.oldest_age == 0


def test_putting_nothing_back_leaves_nothing_old():
    outbox = Outbox()
    outbox.put_back([])
    assert outbox.oldest_age == 0


def test_a_job_runs_from_its_start_to_its_end():
    outbox = Outbox()
    assert outbox.stands_still_for == 0
    outbox.receive([job()])
    assert outbox.stands_still_for == 0
    held = outbox.start_next()
    assert outbox.stands_still_for > 0
    outbox.finish(released(held.reservation))
    assert outbox.stands_still_for == 0
    assert len(outbox.take_settlements()) == 1


def test_what_has_just_come_has_not_waited(monkeypatch):
    """It was given back at once when the jobs that ran had not moved for a while."""
    now = [1_000.0]
    monkeypatch.setattr(outbox_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    outbox = Outbox()
    outbox.receive([job(1)])
    outbox.start_next()
    now[0] += 5.0
    assert outbox.stands_still_for == 5.0
    outbox.receive([job(2)])
    assert outbox.stands_still_for == 0.0


@pytest.mark.parametrize("round", range(5))
def test_each_job_is_started_or_given_back_never_both(round):
    """The flusher takes what is not started while the worker starts it."""
    outbox, given = Outbox(), [job(n) for n in range(1, 2_001)]
    outbox.receive(given)
    started: list[Reservation] = []
    returned: list[Reservation] = []
    go = threading.Barrier(2)

    def run() -> None:
        go.wait()
        while (held := outbox.start_next()) is not None:
            started.append(held.reservation)

    def flush() -> None:
        go.wait()
        returned.extend(outbox.take_unstarted())

    threads = [threading.Thread(target=run), threading.Thread(target=flush)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.job_id for one in started + returned] == [one.job_id for one in given]
