"""The form of a schedule in the admin: what it makes, what it says about a mistake, and the preview beside it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.jobs.schedule import at, cron
from django_jobqueue.models import RecurringJob
from django_jobqueue.scheduling import edits
from django_jobqueue.scheduling.tick import tick
from tests.admin.conftest import staff_with, url
from tests.admin.schedules import LIST, PERMISSIONS, fresh, make, sent
from tests.admin.test_pages import EVIL, html_of
from tests.lifecycle.letters import ADD

pytestmark = pytest.mark.django_db


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
