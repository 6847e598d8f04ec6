"""The scheduler's loop: how long it sleeps, what it does in an outage, who knows that it lives."""

from __future__ import annotations

import logging
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, ProgrammingError, connection, connections
from django.test.utils import CaptureQueriesContext

from django_jobqueue.jobs.schedule import at, every
from django_jobqueue.models import RecurringJob, WorkerProcess
from django_jobqueue.scheduling import edits, register, scheduler, tick
from django_jobqueue.scheduling.breaker import Breaker
from django_jobqueue.scheduling.running import SchedulerThread, Until, scheduler_thread
from django_jobqueue.scheduling.scheduler import Scheduler
from django_jobqueue.scheduling.tick import Pass
from django_jobqueue.scheduling.work import TickOutcome
from django_jobqueue.testing import run_all
from tests.scheduling.conftest import hours, on_all
from tests.waiting import wait_until

RARELY = every(weeks=5_000)


def make_due(rows, name="hourly"):
    """Due now by the store's clock, with a tick long ago."""
    rows.make(name)
    RecurringJob.objects.using(rows.database).filter(name=name).update(grace=10**9, misfire="all")


@on_all
def test_it_sleeps_until_something_is_due_and_looks_twice_a_second_for_edits(rows):
    one = Scheduler(rows.database)
    assert one.once() == scheduler.LOOK_SECONDS, "nothing will ever be due"
    row = rows.make(schedule=RARELY)
    assert one.once() == scheduler.LOOK_SECONDS, "far away"
    soon = edits.store_now(rows.database) + timedelta(seconds=0.3)
    RecurringJob.objects.using(rows.database).filter(pk=row.pk).update(due_at=soon, next_run_at=soon)
    assert 0 < one.once() <= 0.3


@on_all
def test_it_goes_on_at_once_while_there_is_more(rows):
    make_due(rows)
    one = Scheduler(rows.database)
    assert one.once() == 0.0
    assert one.dispatched == 100
    assert len(rows.jobs()) == 100


def test_when_another_one_holds_what_is_due_it_does_not_spin(rows, monkeypatch):
    make_due(rows)
    monkeypatch.setattr(scheduler, "tick", lambda database: Pass([], [], False))
    assert Scheduler("default").once() == scheduler.BUSY_SECONDS


def test_an_outage_is_waited_for_and_told_once(rows, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "django_jobqueue")
    make_due(rows)
    one = Scheduler("default")
    one.once()
    closed = []
    monkeypatch.setattr(connections["default"], "close", lambda: closed.append(1))
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "tick", lambda database: (_ for _ in ()).throw(OperationalError("gone")))
        pauses = [one.once() for _ in range(8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert len(closed) == 8, "a connection may be broken without knowing it"
    assert one.once() == 0.0
    lines = [
        record.getMessage() for record in caplog.records if "served" in record.getMessage() and record.levelno > 10
    ]
    assert lines == [
        "The schedules in 'default' can't be served (gone); trying again.",
        "The schedules in 'default' are served again, after 8 attempts.",
    ]
    assert one.once() == 0.0


def test_what_is_wrong_with_a_declaration_stops_nothing(rows, monkeypatch, caplog):
    make_due(rows)
    monkeypatch.setattr(scheduler, "sync", lambda database: 1 / 0)
    one = Scheduler("default")
    assert one.once() == 0.0
    assert "could not be brought to 'default'" in caplog.text


def test_tables_that_are_not_made_yet_are_waited_for(rows, monkeypatch):
    """A scheduler may start before `migrate`: a missing table is a ProgrammingError on PostgreSQL and MariaDB."""
    done = []
    one = Scheduler("default")
    monkeypatch.setattr(connections["default"], "close", lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "sync", lambda database: (_ for _ in ()).throw(ProgrammingError("no such relation")))
        assert one.once() == 0.1
    monkeypatch.setattr(scheduler, "sync", done.append)
    one.once()
    one.once()
    assert done == ["default"]


def test_declarations_that_could_not_be_brought_are_brought_later(rows, monkeypatch):
    done = []
    one = Scheduler("default")
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "sync", lambda database: 1 / 0)
        one.once()
    monkeypatch.setattr(scheduler, "sync", done.append)
    one.once()
    assert done == [], "not at each look"
    one._sync_at = 0.0
    one.once()
    assert done == ["default"]


def test_who_cant_say_that_it_lives_ticks_all_the_same(rows, monkeypatch, caplog):
    make_due(rows)
    one = Scheduler("default")
    monkeypatch.setattr(one._register, "beat", lambda *_: (_ for _ in ()).throw(DatabaseError("no room")))
    assert one.once() == 0.0
    assert len(rows.jobs()) == 100
    assert "could not say that it is alive: no room" in caplog.text


@pytest.mark.parametrize("is_last", [True, False])
def test_when_one_ends_the_last_that_was_started_declares_once_more(rows, monkeypatch, is_last):
    """An old release that crashed, and was started again in the middle of a deploy, has retired what is new."""
    done = []
    monkeypatch.setattr(scheduler, "sync", done.append)
    one, other, third = Scheduler("default"), register.Register("default"), register.Register("default")
    one.once()
    other.beat(0, 0)
    if not is_last:
        third.beat(0, 0)
    for _ in range(2):
        one._next_beat = 0.0
        one.once()
        one.once()
        assert len(done) == 1, "all that were there are there"
        other.beat(0, 0)
    other.leave()
    one._next_beat = 0.0
    one.once()
    one.once()
    one.once()
    assert len(done) == (2 if is_last else 1)


def test_a_bug_does_not_end_it(rows, monkeypatch, caplog):
    make_due(rows)
    monkeypatch.setattr(scheduler, "tick", lambda database: 1 / 0)
    one = Scheduler("default")
    monkeypatch.setattr(connections["default"], "close", lambda: None)
    assert one.once() == 0.1
    assert "A tick in 'default' failed" in caplog.text


class Chores:
    def __init__(self):
        self.heard = []

    def sync(self):
        self.heard.append("sync")

    def start(self, names):
        self.heard.append(names)

    def stop(self):
        self.heard.append("stop")

    def finish(self):
        self.heard.append("finish")


def test_chores_are_handed_over_once_they_are_advanced(rows):
    rows.make("chore:tidy", source="chore", backend="", task="tidy", misfire="all")
    chores = Chores()
    one = Scheduler("default", chores)
    assert one.once() == 0.0
    assert chores.heard == ["sync", ["chore:tidy"]], "once, however much was missed"
    assert rows.jobs() == []
    assert rows.get("chore:tidy").due_at > edits.store_now("default")
    assert one.once() == scheduler.LOOK_SECONDS


def test_a_breaker_forgets_when_all_is_well():
    breaker = Breaker()
    assert not breaker.is_open
    breaker.failed(), breaker.failed()
    assert breaker.is_open
    assert breaker.succeeded() == 2
    assert breaker.failed() == 0.1


# who is alive


@on_all
def test_who_lives_can_be_seen_and_is_nobodys_worker(rows):
    one = register.Register(rows.database)
    one.beat(3, 1)
    one.beat(5, 1)
    (row,) = register.alive(rows.database)
    assert (row.store, row.completed, row.failed, row.state) == ("→scheduler", 5, 1, "running")
    one.leave()
    assert register.alive(rows.database) == []


def test_a_heartbeat_is_one_statement_that_writes(rows):
    one = register.Register(rows.database)
    for _ in range(3):
        with CaptureQueriesContext(connection) as queries:
            one.beat(0, 0)
        assert len([one["sql"] for one in queries if not one["sql"].startswith("SELECT")]) == 1


@on_all
def test_who_is_silent_is_buried_by_the_others_and_forgotten_in_a_day(rows):
    gone, one = register.Register(rows.database), register.Register(rows.database)
    gone.beat(0, 0)
    found = WorkerProcess.objects.using(rows.database)
    found.update(expires_at=edits.store_now(rows.database))
    one.beat(0, 0)
    assert len(register.alive(rows.database)) == 1
    assert sorted(found.values_list("state", flat=True)) == ["dead", "running"]
    found.filter(state="dead").update(expires_at=edits.store_now(rows.database) - timedelta(days=2))
    one.beat(0, 0)
    assert list(found.values_list("state", flat=True)) == ["running"]


# threads and commands


@pytest.mark.django_db(transaction=True)
def test_a_scheduler_beside_something_else_hears_of_an_edit_at_once(transactional_db):
    row = RecurringJob(name="s", task="tests.testapp.tasks.noop", kind="interval", expression="5000 weeks")
    edits.plan(row, edits.store_now("default"))
    row.save()
    thread = scheduler_thread("default")
    assert isinstance(thread, SchedulerThread)
    thread.start()
    wait_until(lambda: register.alive("default"))
    edits.changed("default", row.pk, expression="1 second")
    wait_until(lambda: RecurringJob.objects.get(name="s").last_run_at, "it has ticked")
    thread.stop()
    assert not thread.is_alive()
    assert register.alive("default") == []
    assert {result.status for result in run_all()} == {"SUCCESSFUL"}


def test_once_does_what_is_due_and_ends(rows, capsys):
    rows.make()
    call_command("scheduler_run", backend="default", once=True)
    assert capsys.readouterr().out == "default: 1 dispatched, 0 failed\n"
    assert rows.get().due_at > edits.store_now("default")
    assert len(rows.jobs()) == 1


@pytest.mark.parametrize(("is_terminal", "said"), [(True, ["Serving the schedules in default. Ctrl-C"]), (False, [])])
def test_it_says_on_a_terminal_that_it_is_at_work(db, monkeypatch, is_terminal, said):
    out = StringIO()
    out.isatty = lambda: is_terminal
    monkeypatch.setattr(Until, "run", lambda *_: out.write("and then it runs\n"))
    call_command("scheduler_run", backend="default", stdout=out)
    assert [line[:40] for line in out.getvalue().partition("and then")[0].splitlines()] == said


def test_once_goes_on_behind_a_thousand_ticks_that_are_left_out(rows, monkeypatch):
    monkeypatch.setattr(scheduler, "tick", lambda database: tick.tick(database, limit=3))
    for n in range(3):
        rows.make(f"s{n}", misfire="skip", schedule=at(hours(1)))
    rows.make("last", schedule=at(hours(2)))
    Scheduler("default").drain()
    assert len(rows.jobs()) == 1


def test_an_unknown_backend_is_an_error():
    with pytest.raises(CommandError, match="nowhere"):
        call_command("scheduler_run", backend="nowhere", once=True)


def test_who_is_told_to_stop_before_there_is_a_scheduler_starts_none(rows):
    with Until() as until:
        until._on_stop(15, None)
        until.run([Scheduler("default")])
        until.drain([Scheduler("default")])


def test_outcomes_are_counted(rows, monkeypatch):
    outcomes = [TickOutcome("s", hours(1), None, what) for what in ("dispatched", "skipped", "failed", "held")]
    monkeypatch.setattr(scheduler, "tick", lambda database: Pass(outcomes, [], False))
    make_due(rows)
    one = Scheduler("default")
    one.once()
    assert (one.dispatched, one.failed) == (1, 1)
