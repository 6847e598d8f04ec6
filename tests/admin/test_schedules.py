"""The admin of schedules: what it shows, who may do what, and what the form says about a mistake."""

from __future__ import annotations

import re
import socket
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_jobqueue.admin import schedule_runs
from django_jobqueue.admin.schedule_runs import TICKS
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.schedule import at, cron, every, manual
from django_jobqueue.models import DelayedJob, Job, JobHistory, RecurringJob
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.scripts import Scripts
from django_jobqueue.scheduling import breaker, edits
from django_jobqueue.scheduling.register import Register
from django_jobqueue.scheduling.tick import tick
from django_jobqueue.scheduling.ticks import tick_id
from tests.admin.conftest import messages_of, push, staff_with, url
from tests.admin.schedules import leave, make, sent
from tests.admin.test_pages import EVIL, html_of
from tests.admin.test_speed import statements
from tests.lifecycle.letters import ADD, write_letter
from tests.stores import NOBODY_LISTENS, ONE_STORE, empty_fast, two_stores

pytestmark = pytest.mark.django_db

LIST = "recurringjob"
POSTED = ("pause", "resume", "remove")
PERMISSIONS = {
    "pause": "pause_recurringjob",
    "resume": "pause_recurringjob",
    "remove": "delete_recurringjob",
    "run": "trigger_recurringjob",
    "edit": "change_recurringjob",
    "add": "add_recurringjob",
}


@pytest.fixture(autouse=True)
def nothing_is_known_of_stores(monkeypatch):
    """That one was silent in the test before must not matter."""
    monkeypatch.setattr(schedule_runs, "_silence", breaker.Silence())


def fresh(row):
    return RecurringJob.objects.get(pk=row.pk)


def rows_of(client, query=""):
    return [row.name for row in client.get(f"{url(LIST)}?{query}").context["cl"].result_list]


# the list


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


# the buttons


@pytest.mark.parametrize("page", POSTED)
class TestButton:
    def test_get_does_nothing(self, as_boss, page):
        row = make(enabled=page != "resume")
        assert as_boss.get(url(LIST, page, row.pk)).status_code == 405
        assert fresh(row).enabled == row.enabled

    def test_it_needs_its_permission(self, page):
        row = make(enabled=page != "resume")
        others = {*PERMISSIONS.values(), "view_recurringjob"} - {PERMISSIONS[page]}
        assert staff_with(*others).post(url(LIST, page, row.pk)).status_code == 403
        assert "/login/" in Client().post(url(LIST, page, row.pk))["Location"]
        assert fresh(row).enabled == row.enabled
        client = staff_with(PERMISSIONS[page])
        assert client.post(url(LIST, page, row.pk), follow=True).status_code == 200
        assert LogEntry.objects.get().object_id == str(row.pk)

    def test_it_needs_the_token(self, boss, page):
        client = Client(enforce_csrf_checks=True)
        client.force_login(boss)
        assert client.post(url(LIST, page, make().pk)).status_code == 403

    def test_one_that_is_gone(self, as_boss, page):
        response = as_boss.post(url(LIST, page, 7), follow=True)
        assert "not here any more" in messages_of(response)[0]

    def test_it_is_only_offered_to_whom_it_is_allowed(self, page):
        row = make(enabled=page != "resume")
        address = url(LIST, page, row.pk)
        page_of_row = url(LIST, "change", row.pk)
        assert address not in html_of(staff_with("view_recurringjob"), page_of_row)
        assert address in html_of(staff_with("view_recurringjob", PERMISSIONS[page]), page_of_row)


def test_pause_resume_and_remove(as_boss):
    row = make()
    response = as_boss.post(url(LIST, "pause", row.pk), follow=True)
    assert messages_of(response) == ["1 schedule is paused."]
    assert (fresh(row).enabled, fresh(row).due_at) == (False, None)
    assert "was so already" in messages_of(as_boss.post(url(LIST, "pause", row.pk), follow=True))[0]
    as_boss.post(url(LIST, "resume", row.pk))
    assert fresh(row).due_at > timezone.now()
    as_boss.post(url(LIST, "remove", row.pk))
    assert not RecurringJob.objects.exists()
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == ["Paused.", "Resumed.", "Removed."]


def test_what_code_declares_is_not_removed(as_boss):
    row = make(source="code")
    response = as_boss.post(url(LIST, "remove", row.pk), follow=True)
    assert "hourly" in messages_of(response)[0]
    assert fresh(row)


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("trigger_selected", "trigger_recurringjob"),
        ("pause_selected", "pause_recurringjob"),
        ("resume_selected", "pause_recurringjob"),
    ],
)
def test_actions_on_many(action, permission):
    rows = [make(f"schedule {number}", enabled=action != "resume_selected") for number in range(3)]
    data = {"action": action, "_selected_action": [row.pk for row in rows[:2]]}
    others = {*PERMISSIONS.values()} - {permission}
    staff_with("view_recurringjob", *others).post(url(LIST), data)
    assert not LogEntry.objects.exists()
    response = staff_with("view_recurringjob", permission).post(url(LIST), data, follow=True)
    assert messages_of(response)[0].startswith("2 schedules")
    assert {entry.object_id for entry in LogEntry.objects.all()} == {str(row.pk) for row in rows[:2]}
    assert Job.objects.count() == (2 if action == "trigger_selected" else 0)


def test_one_that_can_not_run_does_not_stop_the_others(as_boss):
    bad, good = make("bad", task="gone"), make("good")
    data = {"action": "trigger_selected", "_selected_action": [bad.pk, good.pk]}
    told = messages_of(as_boss.post(url(LIST), data, follow=True))
    assert told[0].startswith("1 schedule")
    assert "bad" in told[1]
    assert "gone" in told[1]
    assert LogEntry.objects.get().object_id == str(good.pk)


# by hand, with other arguments


def run_page(row):
    return url(LIST, "run", row.pk)


def test_it_opens_with_its_own_arguments_and_get_runs_nothing(as_boss):
    row = make()
    html = html_of(as_boss, run_page(row))
    assert "add(a: int, b: int)" in html
    assert re.search(r"<textarea[^>]*>\s*\[\s*1,\s*2\s*\]", html)
    assert not Job.objects.exists()


def test_it_runs_with_its_own_arguments_or_others(as_boss):
    row = make(queue="special")
    as_boss.post(run_page(row), {"args": "[1, 2]", "kwargs": "{}"})
    as_boss.post(run_page(row), {"args": "[5]", "kwargs": '{"b": 6}'})
    first, second = Job.objects.order_by("pk")
    assert decode_call(first.args) == ([1, 2], {})
    assert decode_call(second.args) == ([5], {"b": 6})
    assert first.queue == second.queue == "special"
    assert fresh(row).last_job_id == second.pk
    assert decode_call(fresh(row).args) == ([1, 2], {})
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "Run by hand.",
        "Run by hand with other arguments.",
    ]


@pytest.mark.parametrize(
    ("args", "kwargs", "field", "why"),
    [
        ("[1", "{}", "args", "Not readable as JSON"),
        ("{}", "{}", "args", "must be JSON such as"),
        ("[1]", '{"b": NaN}', "kwargs", "NaN is no JSON"),
        ("[1]", "{}", None, "missing a required argument"),
        ("[1, 2]", '{"c": 3}', None, "unexpected keyword argument"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_runs(as_boss, args, kwargs, field, why):
    response = as_boss.post(run_page(make()), {"args": args, "kwargs": kwargs})
    assert response.status_code == 200
    assert why in str(response.context["form"].errors[field or "__all__"])
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


def test_running_needs_its_permission():
    row = make()
    data = {"args": "[1, 2]", "kwargs": "{}"}
    others = {*PERMISSIONS.values(), "view_recurringjob"} - {"trigger_recurringjob"}
    assert staff_with(*others).get(run_page(row)).status_code == 403
    assert staff_with(*others).post(run_page(row), data).status_code == 403
    assert not Job.objects.exists()
    assert staff_with("trigger_recurringjob").post(run_page(row), data).status_code == 302
    assert Job.objects.count() == 1


def test_one_that_is_paused_runs_by_hand_and_stays_paused(as_boss):
    row = make(enabled=False)
    as_boss.post(run_page(row), {"args": "[1, 2]", "kwargs": "{}"})
    assert Job.objects.count() == 1
    assert not fresh(row).enabled


# the form


def test_a_schedule_is_made(as_boss):
    response = as_boss.post(url(LIST, "add"), sent(kwargs='{"b": 2}', args="[1]", priority="50", queue="night"))
    row = RecurringJob.objects.get()
    assert response["Location"] == url(LIST, "change", row.pk)
    assert (row.kind, row.expression, row.timezone) == ("cron", "0 3 * * *", "Europe/Berlin")
    assert decode_call(row.args) == ([1], {"b": 2})
    assert (row.source, row.queue, row.priority, row.enabled) == ("admin", "night", 50, True)
    assert row.due_at == row.next_run_at == cron("0 3 * * *", "Europe/Berlin").next_after(timezone.now())
    assert LogEntry.objects.get().action_flag == 1


def test_it_is_changed_and_the_audit_says_what(as_boss):
    row = make()
    page = html_of(as_boss, url(LIST, "edit", row.pk))
    assert re.search(r'name="expression"[^>]*value="1 hour"', page)
    as_boss.post(url(LIST, "edit", row.pk), sent(row, expression="2 hours", overlap="skip"))
    assert (fresh(row).expression, fresh(row).overlap) == ("2 hours", "skip")
    assert LogEntry.objects.get().change_message in (
        "Changed: Expression, When the previous job still runs.",
        "Changed: When the previous job still runs, Expression.",
    )
    assert decode_call(fresh(row).args) == ([1, 2], {})


def test_an_edit_does_not_undo_what_a_tick_has_decided(as_boss):
    row = make()
    form = sent(row, jitter="5")
    tick("default", now=row.next_run_at)  # a scheduler, meanwhile
    as_boss.post(url(LIST, "edit", row.pk), form)
    assert fresh(row).jitter == 5
    assert fresh(row).last_run_at == row.next_run_at
    assert fresh(row).next_run_at == fresh(row).due_at == row.next_run_at + timedelta(hours=1)


def test_an_edit_over_somebody_elses_is_told(as_boss):
    row = make()
    form = sent(row, jitter="5")
    edits.pause("default", row.pk)
    response = as_boss.post(url(LIST, "edit", row.pk), form)
    assert "Somebody else" in str(response.context["form"].non_field_errors())
    assert not fresh(row).enabled


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"expression": "61 * * * *"}, "expression", "61"),
        ({"expression": "* * *"}, "expression", "* * *"),
        ({"expression": "0 0 30 2 *"}, "expression", "never"),
        ({"expression": ""}, "expression", ""),
        ({"kind": "interval", "expression": "now and then"}, "expression", "now and then"),
        ({"kind": "once", "expression": "2020-01-01 00:00"}, "expression", "never run"),
        ({"kind": "nonsense"}, "kind", "nonsense"),
        ({"timezone": "Berlin"}, "timezone", "Europe/Berlin"),
        ({"timezone": "Mars/Olympus"}, "timezone", "Write Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "timezone", "no time zone"),
        ({"task": "shop.gone"}, "task", "shop.gone"),
        ({"args": "[1, 2, 3]"}, "args", "too many positional arguments"),
        ({"kwargs": "{"}, "kwargs", "Not readable"),
        ({"queue": "a queue"}, "queue", "letters"),
        ({"priority": "200"}, "priority", "100"),
        ({"name": "taken"}, "name", "already"),
        ({"name": "x" * 300}, "name", "255"),
        ({"name": "chore:mine"}, None, "chore"),
        ({"grace": "0.5"}, "grace", "greater than or equal to 1"),
        ({"grace": "99999999"}, "grace", "less than or equal to 31622400"),
        ({"misfire": "perhaps"}, "misfire", "perhaps"),
        ({"backend": "nowhere"}, "backend", "nowhere"),
        ({"starts_at": "2030-01-02T00:00", "ends_at": "2030-01-01T00:00"}, "ends_at", "before it begins"),
        ({"ends_at": "2020-01-01T00:00"}, "expression", "never run"),
        ({"starts_at": "soon"}, "starts_at", "valid"),
        ({"starts_at": "0001-01-01T00:00"}, "starts_at", "Choose a year"),
        ({"ends_at": "9999-12-31T23:59"}, "ends_at", "Choose a year"),
    ],
)
def test_a_mistake_is_explained_next_to_its_field(as_boss, changes, field, why):
    make("taken")
    response = as_boss.post(url(LIST, "add"), sent(**changes))
    assert response.status_code == 200
    errors = response.context["form"].errors
    assert why in str(errors[field] if field else errors)
    assert 'role="alert"' in response.content.decode()
    assert RecurringJob.objects.count() == 1
    assert not LogEntry.objects.exists()


def test_one_that_is_over_can_still_be_changed_in_other_ways(as_boss):
    row = make("once", at(timezone.now() + timedelta(days=1)))
    past = at(timezone.now() - timedelta(days=1)).expression
    RecurringJob.objects.filter(pk=row.pk).update(expression=past, next_run_at=None, due_at=None)
    response = as_boss.post(url(LIST, "edit", row.pk), sent(fresh(row), jitter="3"))
    assert response.status_code == 302
    assert fresh(row).jitter == 3


def test_editing_and_adding_need_their_permissions():
    row = make()
    for page, address in (("edit", url(LIST, "edit", row.pk)), ("add", url(LIST, "add"))):
        others = {*PERMISSIONS.values(), "view_recurringjob"} - {PERMISSIONS[page]}
        assert staff_with(*others).get(address).status_code == 403
        assert staff_with(*others).post(address, sent(row)).status_code == 403
        assert staff_with(PERMISSIONS[page]).get(address).status_code == 200
    assert RecurringJob.objects.count() == 1


def test_what_code_declares_is_not_edited(as_boss):
    row = make(source="code")
    as_boss.post(url(LIST, "edit", row.pk), sent(row, expression="2 hours"))
    assert fresh(row).expression == "1 hour"


def test_the_usual_ways_of_the_admin_around_it_are_closed(as_boss):
    row = make()
    assert as_boss.post(url(LIST, "change", row.pk), sent(row)).status_code == 405
    assert as_boss.post(url(LIST, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in html_of(as_boss, url(LIST))
    assert fresh(row)


# what comes next


def preview(client, **query):
    data = {"kind": "cron", "expression": "30 1 * * *", "timezone": "Europe/Berlin", **query}
    return client.get(url(LIST, "preview"), data)


def test_the_next_ten_runs_on_both_clocks(as_boss):
    html = preview(as_boss, viewer="Asia/Tokyo").content.decode()
    assert html.count("<tr") == 11
    assert "Europe/Berlin" in html
    assert "Asia/Tokyo" in html
    assert html.count("01:30 <small>") == 10
    assert "09:30" in html or "08:30" in html


def test_one_clock_when_both_show_the_same(as_boss):
    html = preview(as_boss, viewer="Europe/Berlin").content.decode()
    assert html.count("<th ") == 2


def test_the_change_of_the_clocks_is_marked(as_boss):
    response = preview(as_boss, starts_at="2027-03-25T00:00")
    assert [run.is_moved for run in response.context["preview"].runs].count(True) == 1
    assert "CEST" in response.content.decode()


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"expression": "61 * * * *"}, "61"),
        ({"expression": EVIL}, "&lt;script&gt;"),
        ({"timezone": EVIL[:60]}, "&lt;script&gt;"),
        ({"viewer": EVIL}, "01:30"),
        ({"expression": ""}, "Say when"),
        ({"kind": "manual", "expression": ""}, "only when somebody says so"),
        ({"kind": "once", "expression": "2020-01-01 00:00"}, "never run"),
        ({"ends_at": "2020-01-01T00:00"}, "never run"),
        ({"starts_at": "9999-12-31T23:59"}, ""),
        ({"row": "77"}, "Say when"),
        ({"row": EVIL}, "Say when"),
        ({"task": ADD}, "add(a: int, b: int)"),
    ],
    ids=str,
)
def test_whatever_is_typed_is_answered(as_boss, query, told):
    response = preview(as_boss, **query)
    html = response.content.decode()
    assert response.status_code == 200
    assert told in html
    assert "<script>" not in html


def test_the_preview_needs_a_permission():
    assert preview(staff_with()).status_code == 403
    assert preview(staff_with("view_recurringjob")).status_code == 200
    assert preview(staff_with("add_recurringjob")).status_code == 200
    assert "/login/" in preview(Client())["Location"]


def test_who_may_only_add_does_not_see_when_others_run():
    address = f"{url(LIST, 'preview')}?row={make().pk}"
    assert staff_with("add_recurringjob").get(address).status_code == 403
    assert staff_with("view_recurringjob").get(address).status_code == 200


def test_without_javascript_a_button_shows_the_next_runs_and_saves_nothing(as_boss):
    response = as_boss.post(url(LIST, "add"), sent(_preview="1"))
    assert response.status_code == 200
    assert len(response.context["preview"].runs) == 10
    assert not RecurringJob.objects.exists()


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


# other settings, other stores


def test_with_use_tz_off_times_are_local_ones(as_boss, settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    row = make("digest", cron("30 8 * * *", "Europe/Berlin"))
    leave(row, ["completed", "completed"])
    html = html_of(as_boss, url(LIST))
    assert html.count('<rect class="jq-good"') == 0  # ticks of full hours are none of this rhythm's
    leave(make(), ["completed", "failed"])
    assert re.findall(r'<rect class="jq-(good|bad)"', html_of(as_boss, url(LIST))) == ["good", "bad"]
    form = sent(expression="0 3 * * *", starts_at="2030-01-01T12:00", ends_at="2030-02-01T12:00")
    assert as_boss.post(url(LIST, "add"), form).status_code == 302
    made = RecurringJob.objects.get(name="nightly")
    assert str(made.next_run_at) == "2030-01-01 21:00:00"  # three in Berlin, the day after
    html_of(as_boss, url(LIST, "change", made.pk))
    assert len(as_boss.get(url(LIST, "change", made.pk)).context["page"].preview.runs) == 10
    assert as_boss.post(url(LIST, "edit", made.pk), sent(made, jitter="3", **dates_of(made))).status_code == 302


def dates_of(row):
    return {name: getattr(row, name).strftime("%Y-%m-%dT%H:%M:%S") for name in ("starts_at", "ends_at")}


def test_a_store_that_is_away_stops_no_page_and_no_button(as_boss, settings):
    settings.TASKS = two_stores(NOBODY_LISTENS)
    row = make("far", backend="fast")
    leave(row, ["", "completed"])
    html = html_of(as_boss, url(LIST))
    assert "1 completed" in html
    assert f"{TICKS - 1} its store does not answer" in html
    assert "its store does not answer" in html_of(as_boss, url(LIST, "change", row.pk))
    as_boss.post(run_page(row), {"args": "[1, 2]", "kwargs": "{}"})
    assert DelayedJob.objects.get().reason == "outbox"  # it waits there until the store is back
    assert as_boss.post(url(LIST, "pause", row.pk), follow=True).status_code == 200
    assert not fresh(row).enabled


def test_a_backend_that_is_gone_from_the_settings(as_boss, settings):
    settings.TASKS = ONE_STORE
    row = make("orphan", backend="gone")
    html_of(as_boss, url(LIST, "change", row.pk))
    html_of(as_boss, url(LIST, "edit", row.pk))
    response = as_boss.post(run_page(row), {"args": "[1, 2]", "kwargs": "{}"})
    assert "gone" in str(response.context["form"].non_field_errors())
    told = messages_of(
        as_boss.post(url(LIST), {"action": "trigger_selected", "_selected_action": [row.pk]}, follow=True)
    )
    assert "orphan" in told[0]


@pytest.mark.redis
def test_jobs_in_redis_are_told_of_and_asked_for_at_once(as_boss, settings, monkeypatch):
    settings.TASKS = two_stores()
    queue = empty_fast()
    rows = [make(f"fast {number}", backend="fast") for number in range(3)]
    for row in rows:
        leave(row, ["completed", "", "retrying"])
    last, before = fresh(rows[0]).last_run_at, fresh(rows[0]).last_run_at - timedelta(hours=1)
    running, waiting = (tick_id(rows[0].name, moment) for moment in (before, last))
    queue.deliver([JobPayload(id=running, task=ADD, args="{}")])
    worker = WorkerIdentity()
    queue.join(worker)
    assert queue.pop((), worker.id)
    queue.deliver([JobPayload(id=waiting, task=ADD, args="{}")])
    calls = []
    call = queue.connection.call
    monkeypatch.setattr(Connection, "call", lambda _self, *command: calls.append(command) or call(*command))
    html = html_of(as_boss, url(LIST))
    told = re.findall(r"<title>[^<]*?\d: ([^<]+)</title>", html)[:TICKS]
    assert told[-3:] == ["completed, 2.0 s", "running", "failed, will be retried, 2.0 s"]
    assert reverse("admin:django_jobqueue_job_live", args=["fast", waiting]) in html
    scripts = [command[1] for command in calls if command[0] == "EVALSHA"]
    assert len(scripts) == 2  # the second: what the outbox did not have either may have arrived meanwhile
    empty_fast()


def test_a_store_that_hangs_is_waited_for_once_and_not_by_each_page(as_boss, settings, monkeypatch):
    monkeypatch.setattr(breaker, "SILENCE", 1_000)
    calls = []
    run = Scripts.run
    monkeypatch.setattr(Scripts, "run", lambda *call: calls.append(call[1]) or run(*call))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.TASKS = two_stores({"url": f"redis://127.0.0.1:{mute.getsockname()[1]}/0?socket_timeout=0.1"})
        for number in range(3):
            leave(make(f"far {number}", backend="fast"), ["completed", ""])
        for _ in range(3):
            assert "its store does not answer" in html_of(as_boss, url(LIST))
    assert calls == ["statuses"]


@pytest.mark.redis
def test_a_schedule_of_a_redis_store_runs_by_hand_there(as_boss, settings):
    settings.TASKS = two_stores()
    queue = empty_fast()
    row = make("fast one", backend="fast")
    as_boss.post(run_page(row), {"args": "[3, 4]", "kwargs": "{}"})
    job_id = fresh(row).last_job_id
    assert queue.find(job_id) is not None or DelayedJob.objects.filter(pk=job_id, reason="outbox").exists()
    html_of(as_boss, url(LIST, "change", row.pk))
    empty_fast()
