"""P7: one job per (schedule, tick); policies for what is missed and what overlaps; P9: nothing is dropped silently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import OperationalError, connections, transaction
from django.test import override_settings

from django_jobqueue.exceptions import EnqueueError, StoreUnavailable
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.schedule import at, every, manual
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.orm.recurring import OrmScheduleTable
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.breaker import Silence
from django_jobqueue.scheduling.mending import mend
from django_jobqueue.scheduling.ticks import jitter_of, tick_id
from django_jobqueue.testing import run_all
from tests.scheduling.conftest import EIGHT, hours, on_all

SECOND = timedelta(seconds=1)


@on_all
def test_a_tick_becomes_one_job_and_the_next_one_is_planned(rows):
    rows.make()
    assert rows.tick(hours(1) - SECOND).outcomes == []
    (outcome,) = rows.tick(hours(1)).outcomes
    assert outcome == ("hourly", hours(1), tick_id("hourly", hours(1)), "dispatched", "")
    assert [job.pk for job in rows.jobs()] == [tick_id("hourly", hours(1))]
    row = rows.get()
    assert (row.last_run_at, row.next_run_at, row.due_at) == (hours(1), hours(2), hours(2))
    assert row.last_job_id == tick_id("hourly", hours(1))
    assert rows.tick(hours(1) + SECOND).outcomes == []


def test_the_next_tick_is_computed_from_the_planned_one_and_not_from_the_clock(rows):
    rows.make()
    rows.tick(hours(1) + 50 * SECOND)
    assert rows.get().next_run_at == hours(2)


@on_all
def test_its_job_is_the_task_with_what_the_schedule_changes(rows):
    call = encode_call((), {"value": 7})
    rows.make("own", args=call, queue="reports", priority=-7)
    rows.make("plain")
    rows.tick(hours(1))
    own, plain = (Job.objects.using(rows.database).get(pk=tick_id(name, hours(1))) for name in ("own", "plain"))
    assert (own.task, own.args, own.queue, own.priority) == ("tests.testapp.tasks.noop", call, "reports", -7)
    assert (plain.queue, plain.priority, plain.max_attempts) == ("default", 0, 3)


def test_a_worker_runs_it(rows):
    rows.make(args=encode_call((5,), {}))
    rows.tick(hours(1))
    (result,) = run_all()
    assert (result.status, result.args) == ("SUCCESSFUL", [5])


@on_all
def test_many_at_once_are_taken_in_pieces_the_longest_due_first(rows):
    for n in range(7):
        rows.make(f"s{n}", at=hours(0.5), schedule=every(hours=1, start=EIGHT + n * SECOND))
    first = rows.tick(hours(1) + 10 * SECOND, limit=3)
    assert [one.name for one in first.outcomes] == ["s0", "s1", "s2"]
    assert first.more
    assert len(rows.tick_all(hours(1) + 10 * SECOND)) == 4
    assert len(rows.jobs()) == 7


def test_a_transaction_takes_no_more_rows_once_it_has_jobs_enough(rows, monkeypatch):
    """After a long outage a thousand schedules may have a hundred ticks each."""
    monkeypatch.setattr("django_jobqueue.scheduling.tick.JOBS", 5)
    for n in range(4):
        rows.make(f"s{n}", misfire="all", schedule=every(hours=1, start=EIGHT + n * SECOND))
    done = rows.tick(hours(3.5))
    assert ({one.name for one in done.outcomes}, len(done.outcomes), done.more) == ({"s1", "s2"}, 8, True)
    assert len(rows.tick_all(hours(3.5))) == 7
    assert len(rows.jobs()) == 15


def test_jitter_moves_the_start_of_the_job_and_not_the_tick(rows):
    rows.make(jitter=600.0)
    rows.tick(hours(1))
    job_id = tick_id("hourly", hours(1))
    assert rows.due_jobs() == {job_id: hours(1) + timedelta(seconds=jitter_of("hourly", hours(1), 600.0))}
    assert rows.get().next_run_at == hours(2)


# from when to when


def test_no_tick_before_the_start_and_none_after_the_end(rows):
    rows.make(starts_at=hours(2), ends_at=hours(3))
    assert rows.get().next_run_at == hours(2), "the start itself counts"
    outcomes = [one for n in range(1, 6) for one in rows.tick(hours(n)).outcomes]
    assert [one.tick for one in outcomes] == [hours(2), hours(3)], "and so does the end"
    row = rows.get()
    assert (row.next_run_at, row.due_at, row.enabled) == (None, None, True)


def test_once_runs_once(rows):
    rows.make(schedule=at(hours(1)))
    assert len(rows.tick(hours(1) + SECOND).outcomes) == 1
    assert (rows.get().next_run_at, rows.get().due_at) == (None, None)
    assert rows.tick(hours(50)).outcomes == []


def test_by_hand_never_runs_by_itself(rows):
    rows.make(schedule=manual())
    assert rows.get().due_at is None
    assert rows.tick(hours(50)).outcomes == []


# misfires


def test_what_was_missed_is_told(rows, caplog):
    """Also where the policy leaves it out: somebody will ask at night why it has not run."""
    for n in range(7):
        rows.make(f"s{n}", misfire="skip")
    rows.make("in time", grace=2_000.0)
    rows.tick(hours(1.5))
    assert "Ticks of 7 schedules were missed, and followed their policies: s0, s1, s2, s3, s4, …" in caplog.text
    caplog.clear()
    rows.tick(hours(2))
    assert caplog.text == ""


def test_what_is_only_held_is_not_told_as_missed(rows, caplog):
    rows.make(overlap="queue")
    rows.tick(hours(1))
    for n in range(4):
        assert rows.tick(hours(2 + n)).outcomes[0].outcome == "held"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"misfire": "skip"}, []),
        ({"misfire": "once"}, [5]),
        ({"misfire": "all", "misfire_limit": 2}, [4, 5]),
        ({"misfire": "all"}, [1, 2, 3, 4, 5]),
        ({"misfire": "skip", "grace": 4_000.0}, [5]),
        ({"misfire": "once", "grace": 7_300.0}, [4, 5]),
    ],
)
@on_all
def test_what_was_missed_follows_the_policy(rows, values, wanted):
    rows.make(**values)
    outcomes = rows.tick_all(hours(5.5))
    assert [one.tick for one in outcomes] == [hours(n) for n in wanted]
    assert {job.pk for job in rows.jobs()} == {tick_id("hourly", hours(n)) for n in wanted}
    assert (rows.get().last_run_at, rows.get().next_run_at) == (hours(5), hours(6))


# overlaps


def end_all(rows):
    worker = WorkerIdentity()
    queue = OrmQueue(rows.database, database=rows.database)
    queue.join(worker)
    for job in queue.reserve((), 100, worker.id):
        queue.clear()
        Job.objects.using(rows.database).filter(pk=job.job_id).delete()
    queue.leave(worker.id)


@on_all
def test_overlap_skip_leaves_a_tick_out_while_the_previous_job_is_alive(rows):
    rows.make(overlap="skip")
    rows.tick(hours(1))
    (outcome,) = rows.tick(hours(2)).outcomes
    assert (outcome.outcome, outcome.tick, outcome.job_id) == ("skipped", hours(2), None)
    assert (rows.get().last_run_at, rows.get().last_job_id) == (hours(2), tick_id("hourly", hours(1)))
    end_all(rows)
    (outcome,) = rows.tick(hours(3)).outcomes
    assert (outcome.outcome, outcome.job_id) == ("dispatched", tick_id("hourly", hours(3)))


def test_overlap_skip_makes_one_job_of_several_ticks(rows):
    rows.make(overlap="skip", misfire="all")
    assert [(one.outcome, one.tick) for one in rows.tick(hours(3.5)).outcomes] == [
        ("dispatched", hours(1)),
        ("skipped", hours(2)),
        ("skipped", hours(3)),
    ]
    assert len(rows.jobs()) == 1


@on_all
def test_overlap_queue_holds_a_tick_until_the_previous_job_is_over(rows):
    rows.make(overlap="queue", grace=5 * 3_600.0)
    rows.tick(hours(1))
    (outcome,) = rows.tick(hours(2)).outcomes
    assert (outcome.outcome, outcome.tick) == ("held", hours(2))
    row = rows.get()
    assert (row.next_run_at, row.last_run_at) == (hours(2), hours(1))
    assert row.due_at == hours(2) + SECOND, "looked at each second"
    assert rows.tick(hours(3) - 4 * SECOND).outcomes[0].outcome == "held"
    assert rows.get().due_at == hours(3) + 6 * SECOND, "and more seldom, the longer it takes"
    end_all(rows)
    outcomes = rows.tick(hours(3) + 6 * SECOND).outcomes
    assert [(one.outcome, one.tick) for one in outcomes] == [("dispatched", hours(2))]
    assert rows.tick(hours(3) + 7 * SECOND).outcomes[0].outcome == "held", "the next one waits for this one"
    end_all(rows)
    assert rows.tick(hours(3) + 9 * SECOND).outcomes[0].tick == hours(3)


def test_what_was_held_for_longer_than_the_grace_was_missed(rows):
    rows.make(overlap="queue")
    rows.tick(hours(1))
    rows.tick(hours(2))
    rows.tick(hours(6.5))
    end_all(rows)
    outcomes = rows.tick(hours(6.5) + 20 * SECOND).outcomes
    assert [(one.outcome, one.tick) for one in outcomes] == [("dispatched", hours(6))]


# what can't be done


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


# never again


@on_all
@pytest.mark.parametrize("place", ["line", "history", "dead"])
def test_the_same_tick_once_more_changes_nothing_wherever_its_job_is(rows, place):
    """No tick does this: a row never goes back. Somebody who sets it back by hand gets no second job all the same."""
    rows.make()
    rows.tick(hours(1))
    job_id = tick_id("hourly", hours(1))
    if place != "line":
        queue = OrmQueue(rows.database, database=rows.database)
        model = JobHistory if place == "history" else DeadLetterJob
        worker = WorkerIdentity()
        queue.join(worker)
        (reservation,) = queue.reserve((), 1, worker.id)
        move = Move.COMPLETED if place == "history" else Move.DEAD
        queue.settle([Settlement(reservation, move, reason="" if place == "history" else "exhausted")])
        assert model.objects.using(rows.database).exists()
    RecurringJob.objects.using(rows.database).update(next_run_at=hours(1), due_at=hours(1), last_run_at=None)
    (outcome,) = rows.tick(hours(1)).outcomes
    assert outcome.job_id == job_id
    assert len(rows.jobs()) == (1 if place == "line" else 0)


def test_a_row_never_goes_back(rows):
    """Not by an edit, a pause, a resumption, nor when it is made again, while the store's clock stands."""
    row = rows.make()
    rows.tick(hours(1))
    row = rows.get()
    edits.plan(row, hours(0.2))
    assert row.next_run_at == hours(2), "though the clock says that it is not yet nine"


@override_settings(USE_TZ=False)
def test_a_project_without_time_zones(rows):
    rows.make()
    (outcome,) = rows.tick(hours(1)).outcomes
    assert outcome.tick == hours(1)
    assert rows.tick(hours(2)).outcomes[0].tick == hours(2)


def test_inside_a_transaction_of_somebody_else_all_is_his_to_undo(rows):
    rows.make()
    with transaction.atomic():
        rows.tick(hours(1))
        transaction.set_rollback(True)
    assert rows.jobs() == []
    assert rows.get().next_run_at == hours(1)
    assert not connections["default"].needs_rollback


def test_a_row_made_by_hand_that_cant_be_planned_stops_nobody(rows):
    values = {"task": "tests.testapp.tasks.noop", "kind": "interval", "expression": "1 hour"}
    bad = {"odd": {"starts_at": datetime.min.replace(tzinfo=UTC)}, "unread": {"expression": "nonsense"}}
    for name, more in (*bad.items(), ("good", {})):
        RecurringJob.objects.create(**{**values, "name": name, **more})
    assert mend("default") == 3
    assert rows.get("good").due_at is not None
    assert all(rows.get(name).last_error for name in bad)
    assert mend("default") == 0
