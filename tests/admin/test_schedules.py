"""The admin of schedules: what the list and the page of one show, whatever its row holds."""

from __future__ import annotations

import re
import socket
from datetime import timedelta

import pytest
from django.utils import timezone

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.schedule import cron, every, manual
from django_jobqueue.models import JobHistory, RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.register import Register
from django_jobqueue.scheduling.ticks import tick_id
from tests.admin.conftest import messages_of, push, url
from tests.admin.schedules import LIST, fresh, leave, make, rows_of
from tests.admin.test_pages import html_of
from tests.admin.test_speed import statements
from tests.lifecycle.letters import ADD, write_letter

pytestmark = pytest.mark.django_db


def test_it_says_when_in_words_and_what_became_of_the_last_runs(as_boss):
    row = make("digest", cron("0 8 * * 1-5", "Europe/Berlin"))
    leave(make(), ["completed", "", "failed", "completed", "retrying"])
    html = html_of(as_boss, url(LIST))
    assert str(cron("0 8 * * 1-5", "Europe/Berlin")) in html
    assert "every hour" in html or "every 1 hour" in html
    assert timezone.localtime(row.next_run_at).strftime("%Y-%m-%d %H:%M:%S") in html
    bars = re.findall(r'<rect class="jq-(\w+)"', html)
    assert bars[-5:] == ["good", "none", "bad", "good", "warn"]
    assert "2 completed" in html
    assert "failed, will be retried" in html


def test_a_long_name_of_a_task_breaks_at_its_dots_and_underscores(as_boss):
    make(task="shop.<b>.stock_report__")
    assert '<span class="jq-module">shop.<wbr>&lt;b&gt;.<wbr>stock_<wbr>report__</span>' in html_of(as_boss, url(LIST))


def test_a_dead_letter_and_a_live_job_are_told(as_boss):
    row = make()
    leave(row, ["failed", ""])
    ticks = [fresh(row).last_run_at, fresh(row).last_run_at - timedelta(hours=1)]
    push(get_queue(), id=tick_id(row.name, ticks[0]))
    write_letter(id=tick_id(row.name, ticks[1]))
    html = html_of(as_boss, url(LIST))
    assert re.findall(r'<rect class="jq-(\w+)"', html)[-2:] == ["bad", "info"]
    assert ": waits" in html
    assert url("job", "change", tick_id(row.name, ticks[0])) in html


def test_a_job_that_runs_is_told_apart_from_one_that_waits(as_boss, queue):
    row = make()
    leave(row, ["", "retrying"])
    push(queue, id=tick_id(row.name, fresh(row).last_run_at))
    worker = WorkerIdentity()
    queue.join(worker)
    assert queue.pop((), worker.id)
    html = html_of(as_boss, url(LIST))
    assert re.findall(r'<rect class="jq-(\w+)"', html)[-1] == "info"
    assert ": running</title>" in html


def test_a_run_by_hand_is_the_last_one(as_boss):
    row = make("by hand", manual(), last_job_id=uuid7())
    JobHistory.objects.create(
        job_id=row.last_job_id, outcome="completed", lease_no=1, attempt=1, queue="q", task=ADD,
        enqueued_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    html = html_of(as_boss, url(LIST))
    assert re.findall(r'<rect class="jq-(\w+)"[^>]* height="(\d+)"', html) == [
        ("good", "11")
    ]  # seen, though it took 0 ms
    assert "by hand: completed" in html
    assert "last run: 1 completed" in html


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["code", "failing", "hourly", "letter", "off", "over"]),
        ("state=on", ["code", "failing", "hourly", "letter"]),
        ("state=paused", ["off"]),
        ("state=retired", ["over"]),
        ("state=failing", ["failing", "letter"]),
        ("state=nonsense", ["code", "failing", "hourly", "letter", "off", "over"]),
        ("source=code", ["code"]),
        ("source=chore", ["chore:prune"]),
        ("backend=other", ["code"]),
        ("q=hour", ["hourly"]),
    ],
)
def test_filters(as_boss, query, names):
    make()
    make("code", source="code", backend="other")
    make("off", enabled=False)
    make("over", retired_at=timezone.now())
    RecurringJob.objects.filter(pk=make("failing").pk).update(failures=3, last_error="it is gone")
    make("letter", last_job_id=write_letter().pk)
    make("chore:prune", source="chore")
    assert rows_of(as_boss, query) == names


def test_the_schedule_of_a_job_is_found_by_its_id(as_boss):
    make("other", last_job_id=uuid7())
    row = make(last_job_id=uuid7())
    assert rows_of(as_boss, f"q={row.last_job_id}") == ["hourly"]
    assert rows_of(as_boss, f"q={uuid7()}") == []


def test_chores_stand_apart_and_are_not_edited(as_boss):
    make()
    chore = make("chore:prune", every(hours=1), source="chore", task="prune")
    response = as_boss.get(url(LIST))
    assert [one["name"] for one in response.context["chores"]] == ["prune"]
    html = html_of(as_boss, url(LIST, "change", chore.pk))
    assert url(LIST, "pause", chore.pk) in html
    assert url(LIST, "edit", chore.pk) not in html
    assert url(LIST, "remove", chore.pk) not in html
    response = as_boss.get(url(LIST, "edit", chore.pk), follow=True)
    assert "declared in code" in messages_of(response)[0]


@pytest.mark.parametrize("count", [1, 40])
def test_a_page_asks_as_often_whatever_is_on_it(as_boss, count):
    for number in range(count):
        leave(make(f"schedule {number}"), ["completed"] * 20)
    sent_to_ours = [sql for sql in statements(as_boss, url(LIST)) if "jobqueue_" in sql]
    assert len(sent_to_ours) == 7  # how many, the rows, chores, schedulers, and three tables that know of the ticks
    for sql in sent_to_ours:
        assert "LIMIT" in sql or " IN (" in sql, sql
        assert "GROUP BY" not in sql
        if "COUNT(" in sql:
            assert "LIMIT 10001" in sql


BAD = [
    {"expression": "nonsense"},
    {"kind": "nonsense"},
    {"timezone": "Mars/Olympus"},
    {"args": "{"},
    {"priority": 77, "jitter": float("inf")},
    {"kind": "interval", "expression": "-1 day"},
    {"kind": "once", "expression": "9999-99-99"},
    {"kind": "interval", "expression": "9" * 190 + " weeks"},
    {"backend": "gone", "queue": "!"},
    {"misfire": "?", "overlap": "?", "source": "?"},
]


@pytest.mark.parametrize("columns", BAD, ids=str)
def test_a_row_nobody_can_read_is_shown_and_stops_nothing(as_boss, columns):
    bad = make("bad", last_job_id=uuid7(), last_run_at=timezone.now())
    RecurringJob.objects.filter(pk=bad.pk).update(**columns)
    make("good")
    assert rows_of(as_boss) == ["bad", "good"]
    html_of(as_boss, url(LIST, "change", bad.pk))
    html_of(as_boss, url(LIST, "run", bad.pk))
    html_of(as_boss, f"{url(LIST, 'preview')}?row={bad.pk}")
    if columns.get("source") is None:
        html_of(as_boss, url(LIST, "edit", bad.pk))


def test_a_row_with_a_date_that_is_none_is_stepped_over(as_boss):
    from django.db import connection

    make("bad")
    make("good")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobqueue_recurring_jobs SET next_run_at = '2026-99-99 25:61:61' WHERE name = 'bad'")
    assert rows_of(as_boss) == ["good"]


def test_a_page_shows_what_comes_and_what_was(as_boss):
    row = make("digest", cron("0 8 * * *", "Europe/Berlin"))
    leave(row, [])
    response = as_boss.get(url(LIST, "change", row.pk))
    assert len(response.context["page"].preview.runs) == 10
    edits.pause("default", row.pk)
    assert as_boss.get(url(LIST, "change", row.pk)).context["page"].preview is None


# who makes them run


def test_it_says_who_is_at_work_and_warns_when_nobody_is(as_boss):
    assert "No scheduler is at work" not in html_of(as_boss, url(LIST))  # nothing to do, nobody needed
    make()
    assert "No scheduler is at work" in html_of(as_boss, url(LIST))
    Register("default").beat(dispatched=1, failed=0)
    html = html_of(as_boss, url(LIST))
    assert "No scheduler is at work" not in html
    assert socket.gethostname() in html
    assert socket.gethostname() not in html_of(as_boss, url("workerprocess"))


def test_what_nobody_has_looked_at_is_late_and_what_waits_for_its_last_job_is_not(as_boss):
    hour = timedelta(hours=1)
    now = timezone.now()
    RecurringJob.objects.filter(pk=make("old").pk).update(due_at=now - hour, next_run_at=now - hour)
    RecurringJob.objects.filter(pk=make("kept").pk).update(due_at=now + hour, next_run_at=now - hour)
    html = html_of(as_boss, url(LIST))
    assert html.count(">late</span>") == 1
    assert html.count("waits for its last job") == 1
    assert rows_of(as_boss, "state=late") == ["old"]
