"""How many statements a tick takes: with one for each row, a thousand schedules that are due at eight are late."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack

import pytest
from django.db import connections, transaction

from django_jobqueue.models import RecurringJob
from django_jobqueue.queues.orm.postgresql import PostgreSQLDialect
from tests.scheduling.conftest import hours, on_all

COUNT = 300
MOST = 30


@pytest.fixture
def sent(rows, monkeypatch):
    """Statements that go to the server, by their verb, from when it is called."""
    connection, seen, stack = connections[rows.database], Counter(), ExitStack()

    def count(execute, sql, params, many, context):
        """Drivers make one statement of many rows to insert; a file is no way to go."""
        is_one = not many or sql.startswith("INSERT") or connection.vendor == "sqlite"
        seen[sql.split()[0]] += 1 if is_one else len(params)
        return execute(sql, params, many, context)

    fast = PostgreSQLDialect.fast

    def count_fast(self, sql, params):
        seen[sql.split()[0]] += 1
        return fast(self, sql, params)

    def begin():
        monkeypatch.setattr(PostgreSQLDialect, "fast", count_fast)
        stack.enter_context(connection.execute_wrapper(count))
        return seen

    with stack:
        yield begin


def many(rows, count, **values):
    row = rows.make(**values)
    fields = {one.attname: getattr(row, one.attname) for one in RecurringJob._meta.fields if not one.primary_key}
    more = (RecurringJob(**fields | {"name": f"s{n:04}"}) for n in range(count - 1))
    RecurringJob.objects.using(rows.database).bulk_create(more)


@on_all
def test_a_tick_of_many_schedules_takes_a_few_statements(rows, sent):
    many(rows, COUNT)
    seen = sent()
    assert len(rows.tick(hours(1)).outcomes) == COUNT
    assert seen.total() <= MOST, seen
    assert set(RecurringJob.objects.using(rows.database).values_list("last_run_at", "next_run_at", "due_at")) == {
        (hours(1), hours(2), hours(2))
    }
    assert RecurringJob.objects.using(rows.database).values("last_job_id").distinct().count() == COUNT


@on_all
def test_nor_does_one_of_which_none_can_be_done(rows, sent):
    many(rows, COUNT, task="nobody.knows")
    RecurringJob.objects.using(rows.database).filter(name="s0000").update(failures=3)
    seen = sent()
    assert {one.outcome for one in rows.tick(hours(1)).outcomes} == {"failed"}
    assert seen.total() <= MOST, seen
    found = RecurringJob.objects.using(rows.database).filter(last_error__startswith="UnknownTask", next_run_at=hours(1))
    assert Counter(found.values_list("failures", flat=True)) == {1: COUNT - 1, 4: 1}


@pytest.mark.parametrize(
    "database",
    [
        pytest.param(name, marks=pytest.mark.django_db(transaction=True, databases=["default", name]))
        for name in ("postgres", "mariadb")
    ],
)
def test_what_others_have_locked_is_not_waited_for_also_when_the_rows_are_written(rows):
    many(rows, COUNT)
    locked, let_go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=rows.database):
            list(RecurringJob.objects.using(rows.database).select_for_update().filter(name="s0100"))
            locked.set()
            let_go.wait(20)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(20)
        assert len(rows.tick(hours(1)).outcomes) == COUNT - 1
        assert not let_go.is_set()
    finally:
        let_go.set()
        holder.join()
    assert [one.name for one in rows.tick(hours(1)).outcomes] == ["s0100"]
