"""Clocks that are wrong. A scheduler reads the store's, so its own host's may say what it likes; and when the store's
was wrong, that is mended.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import DataError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_jobqueue.jobs.schedule import every
from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.orm.queue import dialect_of
from django_jobqueue.queues.orm.sqlite import SQLiteDialect
from django_jobqueue.scheduling import edits, mending
from django_jobqueue.scheduling import scheduler as scheduling_loop
from django_jobqueue.scheduling.mending import mend
from django_jobqueue.scheduling.scheduler import Scheduler
from django_jobqueue.scheduling.ticks import tick_id
from tests.crash.fixtures import POSTGRES
from tests.scheduling.conftest import hours, on_all
from tests.waiting import wait_until

HOUR, YEAR = 3_600, 365 * 86_400
JUMPS = [HOUR, -HOUR, YEAR, -YEAR, 0, -HOUR, YEAR]
COMPILER = shutil.which("cc")


@pytest.fixture
def clock(tmp_path):
    """`clock(seconds)` puts the clock of processes with its `environment` ahead."""
    library, file = tmp_path / "wall_clock.so", tmp_path / "seconds"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)

    def put(seconds):
        file.with_suffix(".new").write_text(str(seconds))
        file.with_suffix(".new").replace(file)

    put.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(file)}
    put(0)
    return put


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_the_clock_of_a_process_can_be_moved(clock):
    clock(YEAR)
    print_it = "import datetime, time; print(time.time()); print(datetime.datetime.now().timestamp())"
    said = subprocess.run([sys.executable, "-c", print_it], env=clock.environment, capture_output=True, check=True)
    assert all(float(line) - time.time() == pytest.approx(YEAR, abs=60) for line in said.stdout.split())


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("alias", [POSTGRES])
def test_a_scheduler_whose_clock_jumps_by_hours_and_years_makes_every_job_once(open_stage, alias, clock):
    stage = open_stage()
    process = stage.start("django", "scheduler_run", "--backend", alias, **clock.environment)
    start = edits.store_now(alias).replace(microsecond=0) + timedelta(seconds=2)
    wanted = []
    for n in range(5):
        row = RecurringJob(name=f"s{n}", task="tests.testapp.tasks.noop", kind="interval", expression="1 second")
        row.backend, row.starts_at, row.ends_at = alias, start, start + timedelta(seconds=len(JUMPS))
        edits.plan(row, start - timedelta(seconds=1))
        row.save(using=alias)
        wanted += [tick_id(row.name, start + timedelta(seconds=k)) for k in range(len(JUMPS) + 1)]
    rows = RecurringJob.objects.using(alias).filter(name__startswith="s")  # and not the chores
    for n, jump in enumerate(JUMPS, 1):
        clock(jump)
        due = start + timedelta(seconds=n)
        wait_until(lambda: rows.filter(last_run_at__gte=due).count() == 5, f"it ticks, {jump} s ahead", 40)  # noqa: B023
    wait_until(lambda: not rows.filter(due_at__isnull=False).exists(), "all is done")
    assert sorted(job_id for job_id, _ in stage.waiting()) == sorted(wanted)
    assert process.poll() is None


@on_all
def test_the_clock_is_the_servers(rows, monkeypatch):
    """A file has no clock, there the host's is the store's."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with connections[rows.database].cursor() as cursor:
        cursor.execute("SELECT CURRENT_TIMESTAMP")
        (said,) = cursor.fetchone()
    said = datetime.fromisoformat(said) if isinstance(said, str) else said
    assert abs(edits.store_now(rows.database).replace(tzinfo=None) - said.replace(tzinfo=None)) < timedelta(seconds=30)


def set_clock(monkeypatch, moment):
    monkeypatch.setattr(SQLiteDialect, "now", lambda self: moment)


@pytest.mark.parametrize("far", [timedelta(hours=1), timedelta(days=365)])
def test_a_store_whose_clock_was_ahead_makes_no_tick_twice_and_leaves_none_out(rows, monkeypatch, far):
    """It was wrong, what came due by it ran, it was put right: each tick that comes is a job if it was none before."""
    rows.make(schedule=every(minutes=10), misfire="all", misfire_limit=1_000)
    ids = [one.job_id for one in rows.tick_all(hours(0) + far)]
    set_clock(monkeypatch, hours(1))
    assert rows.tick(hours(1)).outcomes == [], "the next tick is far away"
    assert mend("default") == (1 if far > timedelta(hours=1) else 0)
    set_clock(monkeypatch, hours(0.5))
    assert mend("default") == (0 if far > timedelta(hours=1) else 1)
    later = [one.job_id for one in rows.tick_all(hours(3))]
    assert len({job.pk for job in rows.jobs()}) == len({*ids, *later})
    row = rows.get()
    assert (row.last_run_at, row.next_run_at) == (hours(3), hours(3) + timedelta(minutes=10))


def test_a_clock_that_is_put_back_a_little_is_waited_for(rows, monkeypatch):
    rows.make()
    rows.tick(hours(1))
    set_clock(monkeypatch, hours(1) - timedelta(seconds=30))
    assert mend("default") == 0


@on_all
def test_a_row_that_was_made_by_hand_is_planned(rows):
    made = RecurringJob(name="hand", task="tests.testapp.tasks.noop", kind="interval", expression="1 hour")
    wrong = RecurringJob(name="wrong", task="tests.testapp.tasks.noop", kind="cron", expression="nonsense")
    off = RecurringJob(name="off", task="tests.testapp.tasks.noop", kind="interval", expression="1 hour", enabled=False)
    for row in (made, wrong, off):
        row.save(using=rows.database)
    assert mend(rows.database) == 2
    assert rows.get("hand").due_at == every(hours=1).next_after(dialect_of(rows.database).now())
    assert rows.get("wrong").due_at is None
    assert "nonsense" in rows.get("wrong").last_error
    assert rows.get("off").due_at is None
    assert mend(rows.database) == 0


def many_by_hand(database, count):
    values = {"task": "tests.testapp.tasks.noop", "kind": "interval", "expression": "1 hour"}
    rows = [RecurringJob(name=f"s{n:04}", **values) for n in range(count)]
    RecurringJob.objects.using(database).bulk_create(rows)


@on_all
def test_many_are_planned_in_a_few_statements(rows, monkeypatch, caplog):
    """And in short transactions: their locks are not held while all the others are worked out."""
    monkeypatch.setattr(mending, "_AT_ONCE", 100)
    many_by_hand(rows.database, 250)
    with CaptureQueriesContext(connections[rows.database]) as seen:
        assert mend(rows.database) == 250
    words = [query["sql"].split()[0] for query in seen.captured_queries]
    assert words.count("UPDATE") <= 6
    assert len(words) <= 40
    due = set(RecurringJob.objects.using(rows.database).values_list("due_at", flat=True))
    assert len(due) == 1
    assert None not in due
    assert "100 schedules had lost their next tick, and were planned anew: s0000, s0001, " in caplog.text
    assert mend(rows.database) == 0


def test_finding_none_is_one_look(rows, django_assert_num_queries):
    rows.make()
    with django_assert_num_queries(1):
        assert mend(rows.database) == 0


def test_more_than_one_call_mends_are_next_and_ticks_come_in_between(rows, monkeypatch):
    for module in (mending, scheduling_loop):
        monkeypatch.setattr(module, "LIMIT", 10)
    many_by_hand(rows.database, 25)
    scheduler = Scheduler(rows.database)
    lost = RecurringJob.objects.filter(due_at=None)
    left = [(scheduler.once(), lost.count())[1] for _ in range(3)]
    assert left == [15, 5, 0]
    RecurringJob.objects.create(name="later", task="tests.testapp.tasks.noop", kind="interval", expression="1 hour")
    scheduler.once()
    assert lost.count() == 1, "a minute later"


def test_ticks_go_on_when_nothing_can_be_mended(rows, monkeypatch):
    def broken(database):
        raise DataError("whatever is in that row")

    monkeypatch.setattr(scheduling_loop, "mend", broken)
    monkeypatch.setattr(Scheduler, "_close", lambda _: None)  # it is the transaction of the test
    rows.make()  # long ago
    scheduler = Scheduler(rows.database)
    scheduler.once()
    scheduler.once()
    assert len(rows.jobs()) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
@pytest.mark.parametrize("database", ["postgres"])
def test_a_row_that_somebody_has_locked_is_not_waited_for(rows):
    many_by_hand(rows.database, 3)
    locked, let_go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=rows.database):
            list(RecurringJob.objects.using(rows.database).select_for_update().filter(name="s0001"))
            locked.set()
            let_go.wait(20)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(20)
        assert mend(rows.database) == 2
    finally:
        let_go.set()
        holder.join()
    assert mend(rows.database) == 1
