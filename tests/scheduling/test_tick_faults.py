"""P9: a tick that can't become a job is not dropped silently, and stops no other."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import OperationalError

from django_jobqueue.exceptions import EnqueueError, StoreUnavailable
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.models import DeadLetterJob, RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.orm.recurring import OrmScheduleTable
from django_jobqueue.scheduling.breaker import Silence
from django_jobqueue.scheduling.mending import mend
from django_jobqueue.scheduling.ticks import tick_id
from django_jobqueue.testing import run_all
from tests.scheduling.conftest import SECOND, hours, on_all

# rows


@on_all
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task": "nobody.knows"}, "UnknownTask"),
        ({"expression": "nonsense"}, "InvalidSchedule"),
        ({"kind": "never"}, "InvalidSchedule"),
        ({"timezone": "Mars/Olympus", "kind": "cron", "expression": "* * * * *"}, "Mars"),
        ({"backend": "nowhere"}, "nowhere"),
        ({"queue": "no good name"}, "InvalidPayload"),
        ({"priority": 999}, "InvalidPayload"),
    ],
)
def test_a_row_that_cant_be_done_says_so_and_stops_nobody(rows, values, words):
    bad, good = rows.make("bad"), rows.make("good")
    RecurringJob.objects.using(rows.database).filter(pk=bad.pk).update(**values)
    outcomes = {one.name: one for one in rows.tick(hours(1)).outcomes}
    assert outcomes["good"].outcome == "dispatched"
    assert outcomes["bad"].outcome == "failed"
    assert words in outcomes["bad"].error
    row = rows.get("bad")
    assert (row.failures, row.last_error) == (1, outcomes["bad"].error)
    assert (row.next_run_at, row.last_run_at) == (hours(1), None), "its tick is not lost"
    assert row.due_at == hours(1) + 5 * SECOND
    rows.tick(hours(1) + 5 * SECOND)
    assert rows.get("bad").due_at == hours(1) + 15 * SECOND, "more and more seldom"

    original = {name: getattr(good, name) for name in values}
    RecurringJob.objects.using(rows.database).filter(pk=bad.pk).update(**original)
    assert [one.outcome for one in rows.tick(hours(1) + 20 * SECOND).outcomes] == ["dispatched"]
    assert (rows.get("bad").failures, rows.get("bad").last_error) == (0, "")
    assert len(rows.jobs()) == 2


@on_all
def test_a_row_that_the_store_refuses_is_found_among_the_others(rows, monkeypatch):
    bad = tick_id("s3", hours(1))
    push = OrmQueue.push

    def refuse(self, *payloads):
        ids = push(self, *payloads)  # what was written before it failed must be undone
        if bad in ids:
            raise EnqueueError("not this one")
        return ids

    monkeypatch.setattr(OrmQueue, "push", refuse)
    for n in range(5):
        rows.make(f"s{n}")
    outcomes = {one.name: one.outcome for one in rows.tick(hours(1)).outcomes}
    assert outcomes == {"s0": "dispatched", "s1": "dispatched", "s2": "dispatched", "s3": "failed", "s4": "dispatched"}
    assert {job.pk for job in rows.jobs()} == {tick_id(f"s{n}", hours(1)) for n in (0, 1, 2, 4)}


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
def test_a_chore_is_done_once_however_late_and_whatever_its_row_says(rows, misfire):
    rows.make("chore:tidy", source="chore", backend="", task="tidy", misfire=misfire)
    done = rows.tick(hours(5.5))
    assert (done.chores, done.outcomes, done.missed) == (["chore:tidy"], [], [])
    assert rows.get("chore:tidy").next_run_at == hours(6)


@on_all
def test_a_row_that_was_switched_off_by_hand_is_put_to_rest(rows):
    row = rows.make()
    RecurringJob.objects.using(rows.database).filter(pk=row.pk).update(enabled=False)
    assert rows.tick(hours(1)).outcomes == []
    assert rows.get().due_at is None
    assert rows.jobs() == []


def test_arguments_that_dont_fit_are_for_the_worker_to_bury(rows):
    rows.make(args=encode_call((1, 2, 3), {}))
    rows.tick(hours(1))
    run_all()
    (letter,) = DeadLetterJob.objects.all()
    assert (letter.pk, letter.reason) == (tick_id("hourly", hours(1)), "signature_mismatch")


def test_a_row_made_by_hand_that_cant_be_planned_stops_nobody(rows):
    values = {"task": "tests.testapp.tasks.noop", "kind": "interval", "expression": "1 hour"}
    bad = {"odd": {"starts_at": datetime.min.replace(tzinfo=UTC)}, "unread": {"expression": "nonsense"}}
    for name, more in (*bad.items(), ("good", {})):
        RecurringJob.objects.create(**{**values, "name": name, **more})
    assert mend("default") == 3
    assert rows.get("good").due_at is not None
    assert all(rows.get(name).last_error for name in bad)
    assert mend("default") == 0


# stores and databases


def test_a_store_that_is_away_costs_only_its_own_schedules_and_no_tick(rows, monkeypatch):
    rows.make("here")
    rows.make("there", backend="other")
    other = OrmQueue("other")
    monkeypatch.setattr(other, "push", lambda *payloads: (_ for _ in ()).throw(StoreUnavailable("gone")))
    monkeypatch.setattr(
        "django_jobqueue.scheduling.stores.get_queue", lambda alias: other if alias == "other" else get_queue(alias)
    )
    assert {one.name: one.outcome for one in rows.tick(hours(1)).outcomes} == {"here": "dispatched", "there": "failed"}
    monkeypatch.undo()
    monkeypatch.setattr("django_jobqueue.scheduling.stores.get_queue", lambda alias: get_queue("default"))
    assert [one.tick for one in rows.tick(hours(1) + 6 * SECOND).outcomes] == [hours(1)]


def test_a_store_that_hangs_is_not_asked_again_for_a_while(rows, monkeypatch):
    """Each question would wait for a timeout, with rows locked, and every other schedule with it."""
    rows.make("here")
    rows.make("there", backend="other", overlap="skip", last_job_id=uuid4())
    asked, clock, other = [], [100.0], OrmQueue("other")

    def hang(*job_ids):
        asked.append(1)
        clock[0] += 5.0
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(other, "alive", hang)
    monkeypatch.setattr("django_jobqueue.scheduling.breaker.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("django_jobqueue.scheduling.stores.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("django_jobqueue.scheduling.stores._silence", Silence())
    monkeypatch.setattr(
        "django_jobqueue.scheduling.stores.get_queue", lambda alias: other if alias == "other" else get_queue(alias)
    )
    for n in (1, 2, 3):
        outcomes = {one.name: one.outcome for one in rows.tick(hours(n)).outcomes}
        assert outcomes == {"here": "dispatched", "there": "failed"}
    assert len(asked) == 1
    assert rows.get("there").last_error == "StoreUnavailable: no answer"
    clock[0] += 31.0
    rows.tick(hours(4))
    assert len(asked) == 2


def test_when_the_database_fails_nothing_has_happened(rows, monkeypatch):
    rows.make()
    with monkeypatch.context() as patch:
        patch.setattr(OrmQueue, "push", lambda *_: (_ for _ in ()).throw(OperationalError("gone")))
        with pytest.raises(OperationalError):
            rows.tick(hours(1))
    assert rows.get().next_run_at == hours(1)
    assert rows.jobs() == []
    assert len(rows.tick(hours(1)).outcomes) == 1


class Refusing:
    """Gives its answers, one for each call of `push`; afterwards it pushes."""

    def __init__(self, monkeypatch, *answers):
        self.calls, push = 0, OrmQueue.push

        def answer(queue, *payloads):
            self.calls += 1
            if self.calls <= len(answers):
                raise answers[self.calls - 1]
            return push(queue, *payloads)

        monkeypatch.setattr(OrmQueue, "push", answer)


def caused(error, cause):
    error.__cause__ = cause
    return error


def test_a_database_that_fails_is_asked_once_and_not_for_each_schedule(rows, monkeypatch):
    """Its transaction is of no use any more; and no schedule is to blame."""
    for n in range(3):
        rows.make(f"s{n}")
    refusing = Refusing(monkeypatch, OperationalError("gone"))
    with pytest.raises(OperationalError):
        rows.tick(hours(1))
    assert refusing.calls == 1
    Refusing(monkeypatch, EnqueueError("one of them"), caused(EnqueueError("gone"), OperationalError("gone")))
    with pytest.raises(EnqueueError, match="gone"):
        rows.tick(hours(1))
    assert set(RecurringJob.objects.values_list("last_error", "failures")) == {("", 0)}


def test_another_store_that_goes_away_in_the_middle_costs_only_its_own_schedules(rows, monkeypatch):
    for n in range(2):
        rows.make(f"s{n}")
    Refusing(monkeypatch, EnqueueError("one of them"), StoreUnavailable("gone"))
    outcomes = {one.name: (one.outcome, one.error) for one in rows.tick(hours(1)).outcomes}
    assert outcomes == {"s0": ("failed", "StoreUnavailable: gone"), "s1": ("dispatched", "")}


@pytest.fixture
def deadlocks(monkeypatch):
    """What says "deadlock" is one."""
    monkeypatch.setattr(OrmScheduleTable, "is_deadlock", lambda _, error: "deadlock" in str(error))


def test_the_victim_of_a_deadlock_tries_again(rows, monkeypatch, deadlocks):
    """Also when it was the push that was given up, whose words stand around it."""
    rows.make()
    victim = OperationalError("deadlock")
    refusing = Refusing(monkeypatch, victim, caused(EnqueueError("not stored"), victim), victim)
    assert [one.outcome for one in rows.tick(hours(1)).outcomes] == ["dispatched"]
    assert refusing.calls == 4
    assert len(rows.jobs()) == 1


def test_but_not_for_ever(rows, monkeypatch, deadlocks):
    rows.make()
    refusing = Refusing(monkeypatch, *[OperationalError("deadlock")] * 9)
    with pytest.raises(OperationalError, match="deadlock"):
        rows.tick(hours(1))
    assert refusing.calls == 5


def test_what_is_no_deadlock_is_not_tried_again_at_once(rows, monkeypatch, deadlocks):
    rows.make()
    refusing = Refusing(monkeypatch, OperationalError("gone"), OperationalError("gone"))
    with pytest.raises(OperationalError, match="gone"):
        rows.tick(hours(1))
    assert refusing.calls == 1


def test_a_schedule_pushes_to_no_store_of_another_database(rows, monkeypatch):
    """The job and the next tick would be two transactions."""
    pushed, other = [], OrmQueue("other", database="elsewhere")
    monkeypatch.setattr(other, "push", lambda *payloads: pushed.append(payloads))
    monkeypatch.setattr(other, "alive", lambda *ids: pytest.fail("it is asked"))
    monkeypatch.setattr("django_jobqueue.scheduling.stores.get_queue", lambda alias: other)
    rows.make("plain", backend="other")
    rows.make("one by one", backend="other", overlap="skip", last_job_id=uuid4())
    done = {one.name: one for one in rows.tick(hours(1)).outcomes}
    assert {one.outcome for one in done.values()} == {"failed"}
    assert all("must be written in one transaction" in one.error for one in done.values())
    assert pushed == []
