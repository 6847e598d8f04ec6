"""P7: one job per (schedule, tick), and the policies for what is missed and what overlaps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.test import override_settings

from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.jobs.schedule import at, every, manual
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, RecurringJob
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.ticks import jitter_of, tick_id
from django_jobqueue.testing import run_all
from tests.scheduling.conftest import EIGHT, SECOND, hours, on_all


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
