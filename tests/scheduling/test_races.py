"""People and schedulers at the same row at the same moment: nothing of a schedule is pushed after the commit of its
pause, no edit brings a tick back, and any number of starts makes one row of a declaration."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, close_old_connections, connections, transaction

from django_jobqueue import failpoints
from django_jobqueue.jobs.schedule import every
from django_jobqueue.models import Job, RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.sync import sync_rows
from django_jobqueue.scheduling.ticks import tick_id
from tests.scheduling.conftest import EIGHT, SECOND, Rows, hours
from tests.waiting import wait_until


def _on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=sorted({"default", alias})))


on_all = pytest.mark.parametrize("database", [_on("default"), _on("postgres"), _on("mariadb")])
on_servers = pytest.mark.parametrize("database", [_on("postgres"), _on("mariadb")])


@pytest.fixture
def rows(transactional_db, database):
    return Rows(database)


@pytest.fixture
def over():
    """Ends the loops of a test, be it red."""
    return threading.Event()


@pytest.fixture
def beside(over):
    """`beside(function, …)`: in a thread with connections of its own; its result."""
    pool = ThreadPoolExecutor(8)

    def run(function, *args):
        def work():
            try:
                return function(*args)
            finally:
                connections.close_all()

        return pool.submit(work)

    yield run
    over.set()
    pool.shutdown()


def pause(rows, row):
    edits.pause(rows.database, row.pk)


def delete(rows, row):
    RecurringJob.objects.using(rows.database).filter(pk=row.pk).delete()


def edit(rows, row):
    edits.changed(rows.database, row.pk, expression="5000 weeks")


@pytest.mark.parametrize("act", [pause, delete, edit])
@on_servers
def test_who_comes_in_the_middle_of_a_tick_comes_after_it(rows, beside, over, monkeypatch, act):
    reached = threading.Event()

    def halt(point):
        if point == "tick.before_commit":
            reached.set()
            assert over.wait(20)

    row = rows.make()
    monkeypatch.setattr(failpoints, "hit", halt)
    ticking = beside(rows.tick, hours(1))
    assert reached.wait(20)
    acting = beside(act, rows, row)
    with pytest.raises(TimeoutError):
        acting.result(timeout=0.3)
    over.set()
    assert ticking.result().outcomes[0].outcome == "dispatched"
    acting.result()
    assert len(rows.jobs()) == 1
    assert rows.tick(hours(9)).outcomes == []


@on_servers
def test_who_is_first_is_seen_by_the_tick_that_passes_over_his_lock(rows, beside):
    """The row is locked by an edit that is not committed yet: the tick leaves it, and finds what it has become."""
    row = rows.make()
    with transaction.atomic(using=rows.database):
        edits.pause(rows.database, row.pk)
        assert beside(rows.tick, hours(1)).result(timeout=20).outcomes == []
    assert beside(rows.tick, hours(1)).result().outcomes == []
    assert rows.jobs() == []


@on_all
def test_nothing_is_pushed_after_the_commit_of_a_pause(rows, beside, over):
    """Two schedulers in a hurry, and somebody who pauses one schedule after the other."""
    names = [f"s{n}" for n in range(3 if rows.database == "default" else 12)]
    made = {name: rows.make(name, schedule=every(seconds=1), grace=10**6, misfire="all") for name in names}

    def schedule():
        moment = EIGHT
        while not over.is_set():
            moment += SECOND
            try:
                rows.tick(moment)
            except OperationalError:  # SQLite was busy
                close_old_connections()

    def ticks_of(name):
        return Job.objects.using(rows.database).filter(args__contains=f'"{name}"').count()

    for name in names:
        edits.changed(rows.database, made[name].pk, args=f'{{"args":["{name}"],"kwargs":{{}}}}')
        found = RecurringJob.objects.using(rows.database).filter(name=name)
        found.update(due_at=EIGHT + SECOND, next_run_at=EIGHT + SECOND)
    running = [beside(schedule) for _ in range(2)]
    seen = {}
    for name in names:
        before = len(rows.jobs())
        wait_until(lambda: len(rows.jobs()) > before, "they tick")  # noqa: B023
        edits.pause(rows.database, made[name].pk)
        seen[name] = ticks_of(name)
    over.set()
    for one in running:
        one.result()
    assert {name: ticks_of(name) for name in names} == seen
    assert sum(seen.values()) == len(rows.jobs()) > len(names)


@on_all
def test_two_schedulers_at_once_make_one_job(rows, beside):
    """On SQLite one waits for the other; elsewhere each takes what the other has not."""
    for n in range(40):
        rows.make(f"s{n}")
    both = [beside(rows.tick_all, hours(1)) for _ in range(4)]
    found = Counter(outcome.job_id for one in both for outcome in one.result())
    while more := rows.tick(hours(1)).outcomes:
        found.update(outcome.job_id for outcome in more)
    assert found == Counter(tick_id(f"s{n}", hours(1)) for n in range(40))
    assert {job.pk for job in rows.jobs()} == set(found)


@on_all
def test_an_edit_keeps_what_a_tick_has_decided(rows, beside, over):
    """Edits to and fro while schedulers tick: each tick is one job, however often it was planned again."""
    row = rows.make(schedule=every(seconds=1), grace=10**6, misfire="all")

    def turn():
        for n in range(20):
            edits.changed(rows.database, row.pk, priority=n)
        over.set()

    turning = beside(turn)
    now, seen = edits.store_now(rows.database), []
    while not over.is_set():
        now += SECOND
        try:
            seen += [one.job_id for one in rows.tick(now).outcomes]
        except OperationalError:
            close_old_connections()
    turning.result()
    assert len(seen) == len(set(seen)) == len(rows.jobs())


@on_all
def test_many_starts_at_once_make_one_row_of_each_declaration(rows, beside):
    fields = {
        f"s{n}": {"name": f"s{n}", "task": "tests.testapp.tasks.noop", "args": "", "backend": rows.database}
        | {"kind": "interval", "expression": "1 hour", "timezone": "UTC"}
        for n in range(10)
    }
    starts = [beside(sync_rows, rows.database, "code", fields) for _ in range(4)]
    added = [name for one in starts for name in one.result().added]
    assert sorted(added) == sorted(fields)
    assert RecurringJob.objects.using(rows.database).count() == 10
