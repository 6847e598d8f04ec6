"""What ended in Redis gets into the tables: once, whole, whatever the database makes of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connections
from django.test import override_settings
from django.utils import timezone

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.models import DeadLetterJob, JobHistory
from django_jobqueue.queues.base import NO_ERROR, ErrorRecord, Move, Reservation, Settlement
from django_jobqueue.queues.redis import recorder as recorder_module
from django_jobqueue.queues.redis import tables, values
from django_jobqueue.queues.redis.entries import Entry
from django_jobqueue.queues.redis.recorder import Recorder

on_all = pytest.mark.parametrize(
    "alias",
    [
        pytest.param(one, marks=pytest.mark.django_db(transaction=True, databases=[one]))
        for one in ("default", "postgres", "mariadb")
    ],
)
NOW = datetime(2026, 3, 29, 1, 30, 0, 123_456, tzinfo=UTC)
BOOM = ErrorRecord("builtins.ValueError", "böom 😀 'quoted' %s", 'Traceback\n  File "x.py"\n\\N', "f" * 40)


def entry(**fields):
    values = {
        "job_id": uuid7(),
        "lease_no": 3,
        "attempt": 2,
        "crashes": 1,
        "queue": "emails",
        "priority": -7,
        "task": "shop.tasks.send",
        "args": '{"args":["é😀"],"kwargs":{}}',
        "max_attempts": 4,
        "timeout": None,
        "unique_key": None,
        "concurrency_key": "",
        "times_retried": 0,
        "outcome": "completed",
        "dead_reason": None,
        "result": '{"ok":"ü"}',
        "error": NO_ERROR,
        "wait_ms": 12,
        "run_ms": 34,
        "memory_kb": 56,
        "worker_id": uuid7(),
        "created_at": NOW - timedelta(hours=1),
        "started_at": NOW - timedelta(microseconds=34_001),
        "finished_at": NOW,
    }
    return Entry(**{**values, **fields})


def dead(**fields):
    return entry(**{"outcome": "failed", "dead_reason": "exhausted", "result": "", "error": BOOM, **fields})


def history(alias):
    return JobHistory.objects.using(alias).order_by("job_id", "lease_no")


def letters(alias):
    return DeadLetterJob.objects.using(alias)


def at_once(alias, *calls):
    gate, errors = threading.Barrier(len(calls)), []

    def run(call):
        try:
            gate.wait(20)
            call()
        except Exception as error:
            errors.append(error)
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=run, args=[one]) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


# -- what is written ---------------------------------------------------------------------------------------------------


@on_all
def test_an_execution_reads_back_as_it_was(alias):
    one = entry()
    Recorder(alias, "fast").write([one])
    row = history(alias).get()
    same = [
        "job_id",
        "lease_no",
        "attempt",
        "queue",
        "priority",
        "task",
        "args",
        "outcome",
        "result",
        "wait_ms",
        "run_ms",
        "memory_kb",
        "worker_id",
    ]
    assert [getattr(row, name) for name in same] == [getattr(one, name) for name in same]
    assert (row.enqueued_at, row.started_at, row.finished_at) == (one.created_at, one.started_at, one.finished_at)
    assert (row.error_class, row.error_message, row.traceback, row.store) == ("", "", "", "fast")
    assert not letters(alias).exists()


@on_all
def test_a_death_is_an_execution_and_a_letter_with_the_whole_job(alias):
    one = dead(timeout=2.5, unique_key="order-7", concurrency_key="k", times_retried=2, lease_no=9)
    Recorder(alias, "fast").write([one])
    row, letter = history(alias).get(), letters(alias).get()
    assert (row.outcome, row.args, row.traceback) == ("failed", "", BOOM.traceback)
    same = [
        "lease_no",
        "attempt",
        "crashes",
        "queue",
        "priority",
        "task",
        "args",
        "max_attempts",
        "timeout",
        "unique_key",
        "concurrency_key",
        "times_retried",
    ]
    assert letter.id == one.job_id
    assert [getattr(letter, name) for name in same] == [getattr(one, name) for name in same]
    assert (letter.error_class, letter.error_message, letter.traceback, letter.fingerprint) == BOOM
    assert (letter.enqueued_at, letter.failed_at) == (one.created_at, one.finished_at)
    assert (letter.reason, letter.store, letter.batch_id) == ("exhausted", "fast", None)


@on_all
def test_only_the_row_that_ended_a_job_keeps_its_arguments(alias):
    outcomes = ["completed", "cancelled", "retrying", "snoozed", "lost", "failed"]
    Recorder(alias, "fast").write([entry(outcome=outcome) for outcome in outcomes])
    kept = history(alias).exclude(args="").values_list("outcome", flat=True)
    assert sorted(kept) == ["cancelled", "completed"]


@on_all
def test_what_never_ran_has_no_worker_and_no_start(alias):
    Recorder(alias, "fast").write([entry(outcome="cancelled", worker_id=None, started_at=None)])
    row = history(alias).get()
    assert (row.worker_id, row.started_at) == (None, None)


@on_all
def test_a_death_without_a_reason_is_a_letter_all_the_same(alias):
    Recorder(alias, "fast").write([dead(dead_reason="")])
    assert letters(alias).get().reason == ""


@on_all
def test_many_of_both_kinds_in_one_batch(alias, monkeypatch):
    monkeypatch.setattr(recorder_module, "PIECE_ROWS", 7)
    batch = [dead() if number % 3 else entry() for number in range(40)]
    Recorder(alias, "fast").write(batch)
    assert history(alias).count() == 40
    assert set(letters(alias).values_list("pk", flat=True)) == {one.job_id for one in batch if one.dead_reason}
    Recorder(alias, "fast").write([])


def test_long_texts_go_in_pieces_of_their_own(monkeypatch):
    monkeypatch.setattr(recorder_module, "PIECE_CHARS", 100)
    batch = [entry(args="x" * size, result="") for size in (60, 60, 1, 99, 1, 200, 1)]
    pieces = [[len(one.args) for one in piece] for piece in recorder_module._pieces(batch, recorder_module._chars_of)]
    assert pieces == [[60, 60], [1, 99], [1, 200], [1]]


# -- once --------------------------------------------------------------------------------------------------------------


@on_all
def test_what_is_recorded_already_is_left_as_it_is(alias):
    one, died = entry(), dead()
    for _ in range(2):
        Recorder(alias, "fast").write([one, died])
    Recorder(alias, "fast").write([one._replace(outcome="lost"), died._replace(queue="other")])
    assert sorted(history(alias).values_list("outcome", flat=True)) == ["completed", "failed"]
    assert letters(alias).get().queue == "emails"


@on_all
def test_a_late_repeat_makes_no_dead_letter_of_a_job_that_was_brought_back(alias):
    died, later = dead(), entry()
    Recorder(alias, "fast").write([died])
    letters(alias).all().delete()  # as a retry does, in the transaction that pushes the job
    Recorder(alias, "fast").write([died, later])
    assert not letters(alias).exists()
    assert history(alias).count() == 2


@on_all
def test_of_two_deaths_the_later_letter_stays(alias):
    first = dead(lease_no=3)
    second = first._replace(lease_no=5, queue="reports", error=NO_ERROR)
    for batch in ([first], [second], [first._replace(lease_no=4)]):
        Recorder(alias, "fast").write(batch)
    letter = letters(alias).get()
    assert (letter.lease_no, letter.queue, letter.traceback) == (5, "reports", "")
    assert history(alias).count() == 3
    third, fourth = first._replace(lease_no=6), first._replace(lease_no=7)
    Recorder(alias, "fast").write([fourth, third])
    assert letters(alias).get().lease_no == 7


@on_all
def test_the_letter_of_another_store_is_not_replaced(alias):
    first = dead(lease_no=3)
    Recorder(alias, "fast").write([first])
    Recorder(alias, "other").write([first._replace(lease_no=5)])
    assert (letters(alias).get().lease_no, letters(alias).get().store) == (3, "fast")


@on_all
def test_two_who_write_the_same_at_once_write_it_once(alias, monkeypatch):
    """Each in the order it was given, they would wait for each other."""
    monkeypatch.setattr(recorder_module, "PIECE_ROWS", 1)
    batch = [dead() if number % 2 else entry() for number in range(60)]
    at_once(alias, *(partial(Recorder(alias, "fast").write, one) for one in (batch, batch[::-1])))
    assert (history(alias).count(), letters(alias).count()) == (60, 30)


# -- straight from settlements -----------------------------------------------------------------------------------------


def settlement(move=Move.COMPLETED, **fields):
    """One of a job whose created_at, start and end are three moments."""
    job = Reservation(
        *(uuid7(), 3, 2, 1, "emails", -7, "shop.tasks.send", '{"args":["é😀"],"kwargs":{}}', 4, None, 0),
        *(NOW - timedelta(hours=1), NOW, 12),
    )
    job = job._replace(**{name: fields.pop(name) for name in list(fields) if name in Reservation._fields})
    times = {"start_ms": 1_007, "run_ms": 34, "memory_kb": 56}
    return Settlement(job, move, **{"result": '{"ok":"ü"}', **times, **fields}), uuid7()


@on_all
def test_rows_straight_from_settlements_are_those_of_entries(alias):
    moves = (Move.COMPLETED, Move.CANCELLED, Move.RETRY, Move.SNOOZE)
    settled = [settlement(move, error=BOOM if move is Move.RETRY else NO_ERROR) for move in moves for _ in range(3)]
    columns = [field.name for field in JobHistory._meta.fields if field.name != "id"]
    Recorder(alias, "fast").write_settled(settled)
    rows = list(history(alias).values(*columns))
    Recorder(alias, "fast").write([values.entry(*pair) for pair in settled])
    assert history(alias).count() == len(settled)
    history(alias).delete()
    Recorder(alias, "fast").write([values.entry(*pair) for pair in settled])
    assert rows == list(history(alias).values(*columns))


@on_all
@pytest.mark.parametrize(
    "unfit", [{"result": '"a\x00b"'}, {"queue": "q" * 101}, {"wait_ms": 2**63}], ids=["NUL", "long", "big"]
)
def test_a_settlement_with_a_value_that_does_not_fit_holds_up_nobody(alias, unfit, caplog):
    settled = [settlement(), settlement(**unfit), settlement()]
    Recorder(alias, "fast").write_settled(settled)
    assert history(alias).count() == 3
    assert not caplog.records


@on_all
def test_two_who_write_the_same_in_two_ways_never_wait_for_each_other(alias, monkeypatch):
    monkeypatch.setattr(recorder_module, "PIECE_ROWS", 1)
    settled = [settlement() for _ in range(60)]
    entries = [values.entry(*pair) for pair in settled]
    at_once(
        alias,
        lambda: Recorder(alias, "fast").write_settled(settled[::-1]),
        lambda: Recorder(alias, "fast").write(entries),
    )
    assert history(alias).count() == 60


# -- what a database does not take -------------------------------------------------------------------------------------

UNFIT = {
    "a NUL": {"result": '"a\x00b"'},
    "half a surrogate": {"task": "shop.\ud800"},
    "a name that is too long": {"queue": "q" * 101},
    "a number that is too big": {"lease_no": 2**31, "attempt": 2**15, "wait_ms": 2**63, "memory_kb": -(2**40)},
    "a time out that is no number": {"timeout": float("nan")},
}


@on_all
@pytest.mark.parametrize("unfit", UNFIT)
def test_a_value_that_does_not_fit_is_mended_and_holds_up_nobody(alias, unfit, caplog):
    good, bad, dying = entry(), entry(**UNFIT[unfit]), dead(**UNFIT[unfit])
    for _ in range(2):
        Recorder(alias, "fast").write([good, bad, dying])
    assert history(alias).count() == 3
    assert letters(alias).get().pk == dying.job_id
    assert history(alias).get(job_id=good.job_id).result == good.result
    assert not caplog.records


@on_all
def test_a_row_that_is_refused_in_every_form_is_told_and_left_out(alias, caplog):
    good = [entry(), dead()]
    bad = entry(outcome=None)
    if alias == "mariadb":  # which makes something of everything
        bad = dead(priority="nonsense")
    Recorder(alias, "fast").write([good[0], bad, good[1]])
    assert set(history(alias).values_list("job_id", flat=True)) == {one.job_id for one in good}
    assert letters(alias).count() == 1
    assert str(bad.job_id) in caplog.text
    assert bad.args not in caplog.text


@on_all
@pytest.mark.parametrize("error", [OperationalError("server has gone away"), ProgrammingError("no such table")])
def test_a_database_that_does_not_answer_is_told_to_the_caller_and_nothing_is_recorded(alias, error, monkeypatch):
    monkeypatch.setattr(recorder_module, "PIECE_ROWS", 2)
    write, calls = tables.Tables.write, []

    def fail_at_the_second(self, *args):
        calls.append(args)
        if len(calls) == 2:
            raise error
        write(self, *args)

    monkeypatch.setattr(tables.Tables, "write", fail_at_the_second)
    batch = [entry() for _ in range(5)]
    with pytest.raises(type(error)):
        Recorder(alias, "fast").write(batch)
    assert not history(alias).exists()
    Recorder(alias, "fast").write(batch)
    assert history(alias).count() == 5


# -- time zones --------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(request):
    """A database whose connection has other time settings."""
    alias, use_tz, zone = request.param
    connection = connections[alias]
    with override_settings(USE_TZ=use_tz, TIME_ZONE="America/New_York"):
        set_zone(connection, zone)
        yield alias
    set_zone(connection, None)


def set_zone(connection, zone):
    connection.close()
    connection.settings_dict["TIME_ZONE"] = zone
    for cached in ("timezone", "timezone_name"):
        connection.__dict__.pop(cached, None)


ZONES = [
    pytest.param((alias, use_tz, zone), marks=pytest.mark.django_db(transaction=True, databases=[alias]))
    for alias in ("default", "postgres", "mariadb")
    for use_tz, zone in ((True, "Asia/Kolkata"), (False, None))
]


@pytest.mark.parametrize("elsewhere", ZONES, indirect=True)
def test_the_time_zone_of_a_connection_changes_nothing(elsewhere):
    whole = NOW.replace(microsecond=0, hour=12)
    Recorder(elsewhere, "fast").write([dead(finished_at=whole), dead()])
    JobHistory.objects.using(elsewhere).create(
        job_id=uuid7(), lease_no=1, attempt=1, enqueued_at=local(NOW), finished_at=local(NOW)
    )
    wanted = {local(NOW), local(whole)}
    assert set(history(elsewhere).values_list("finished_at", flat=True)) == wanted
    assert set(letters(elsewhere).values_list("failed_at", flat=True)) == wanted
    assert history(elsewhere).filter(finished_at=local(NOW)).count() == 2


def local(moment):
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())
