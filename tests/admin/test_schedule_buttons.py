"""The buttons of a schedule in the admin: who may press them, what they do, and running one by hand."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.models import Job, RecurringJob
from tests.admin.conftest import messages_of, staff_with, url
from tests.admin.schedules import LIST, PERMISSIONS, fresh, make, run_page
from tests.admin.test_pages import html_of

pytestmark = pytest.mark.django_db

POSTED = ("pause", "resume", "remove")


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
