"""Who may press which button, what it does, and what is written down about it."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client
from django.utils import timezone

from django_jobqueue.admin import operations
from django_jobqueue.jobs.codec import decode_call
from django_jobqueue.lifecycle import dead_letters
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory, JobLock, JobPriority
from django_jobqueue.queues.base import Move, Settlement, WorkerIdentity
from tests.admin.conftest import inline_code, messages_of, push, staff_with, url
from tests.lifecycle.letters import ADD, die, write_letter

pytestmark = pytest.mark.django_db

# (model, page of the button, name in the list of actions, permission)
BUTTONS = [
    ("deadletterjob", "retry", "retry_selected", "retry_deadletterjob"),
    ("deadletterjob", "discard", "discard_selected", "discard_deadletterjob"),
    ("job", "cancel", "cancel_selected", "cancel_job"),
    ("job", "run-now", "run_selected_now", "run_job_now"),
    ("job", "kill", "kill_selected", "kill_job"),
]
OTHERS = [
    *("retry_deadletterjob", "edit_retry_deadletterjob", "discard_deadletterjob"),
    *("cancel_job", "run_job_now", "kill_job"),
]
VIEW = ["view_deadletterjob", "view_job"]


def target(queue, model, page):
    if page == "kill":
        return claimed(queue)
    return write_letter().pk if model == "deadletterjob" else push(queue, delay=3600)


def claimed(queue):
    job_id, worker = push(queue), WorkerIdentity()
    queue.join(worker)
    assert queue.pop((), worker.id).job_id == job_id
    return job_id


def rooms():
    told = JobLock.objects.filter(cancel__isnull=False)
    return [rows.count() for rows in (DeadLetterJob.objects, Job.objects, DelayedJob.objects, JobHistory.objects, told)]


def everyone_but(permission):
    return [codename for codename in OTHERS if codename != permission]


def run_action(client, model, action, *pks, **data):
    return client.post(url(model), {"action": action, "_selected_action": [str(pk) for pk in pks], **data}, follow=True)


# the matrix


@pytest.mark.parametrize(("model", "page", "action", "permission"), BUTTONS, ids=[row[1] for row in BUTTONS])
class TestButton:
    def test_get_does_nothing_whoever_asks(self, queue, as_boss, model, page, action, permission):
        address = url(model, page, target(queue, model, page))
        before = rooms()
        assert as_boss.get(address).status_code == 405
        assert as_boss.head(address).status_code == 405
        assert as_boss.put(address).status_code == 405
        assert staff_with(permission).get(address).status_code == 405
        assert staff_with().get(address).status_code == 405
        assert "/login/" in Client().get(address)["Location"]
        assert rooms() == before

    def test_strangers_are_sent_to_the_login(self, queue, model, page, action, permission):
        before_target = target(queue, model, page)
        before = rooms()
        response = Client().post(url(model, page, before_target))
        assert response.status_code == 302
        assert "/login/" in response["Location"]
        assert rooms() == before

    def test_staff_with_every_other_permission_may_not(self, queue, model, page, action, permission):
        client = staff_with(*VIEW, *everyone_but(permission))
        address = url(model, page, target(queue, model, page))
        before = rooms()
        assert client.post(address).status_code == 403
        assert rooms() == before
        assert not LogEntry.objects.exists()

    def test_staff_with_the_permission_may_and_it_is_written_down(self, queue, model, page, action, permission):
        client = staff_with(*VIEW, permission)
        pk = target(queue, model, page)
        before = rooms()
        response = client.post(url(model, page, pk))
        assert response.status_code == 302
        assert urlsplit(response["Location"]).path == url(model)
        assert rooms() != before
        entry = LogEntry.objects.get()
        assert entry.object_id == str(pk)
        assert entry.user.username.startswith("staff")
        assert entry.change_message

    def test_the_permission_alone_is_enough_and_shows_nothing(self, queue, model, page, action, permission):
        client = staff_with(permission)
        response = client.post(url(model, page, target(queue, model, page)))
        assert response["Location"] == "/admin/"
        assert LogEntry.objects.exists()
        assert client.get(url(model)).status_code == 403

    def test_a_forged_post_is_refused_csrf(self, queue, boss, model, page, action, permission):
        client = Client(enforce_csrf_checks=True)
        client.force_login(boss)
        pk = target(queue, model, page)
        before = rooms()
        assert client.post(url(model, page, pk)).status_code == 403
        assert rooms() == before
        client.get(url(model, "change", pk))
        token = client.cookies["csrftoken"].value
        assert client.post(url(model, page, pk), {"csrfmiddlewaretoken": token}).status_code == 302
        assert rooms() != before

    def test_the_button_is_there_for_whom_it_is(self, queue, model, page, action, permission):
        pk = target(queue, model, page)
        button = f'action="{url(model, page, pk)}"'
        assert button in staff_with(*VIEW, permission).get(url(model, "change", pk)).content.decode()
        others = staff_with(*VIEW, *everyone_but(permission)).get(url(model, "change", pk)).content.decode()
        assert button not in others

    def test_the_list_action_needs_the_permission_too(self, queue, model, page, action, permission):
        pk = target(queue, model, page)
        before = rooms()
        others = staff_with(*VIEW, *everyone_but(permission))
        assert f'value="{action}"' not in others.get(url(model)).content.decode()
        run_action(others, model, action, pk)
        assert rooms() == before
        allowed = staff_with(*VIEW, permission)
        assert f'value="{action}"' in allowed.get(url(model)).content.decode()
        response = run_action(allowed, model, action, pk)
        assert rooms() != before
        assert messages_of(response)[0].startswith("1 ")
        assert LogEntry.objects.get().object_id == str(pk)

    def test_a_second_click_finds_nothing_and_says_so(self, queue, as_boss, model, page, action, permission):
        pk = target(queue, model, page)
        as_boss.post(url(model, page, pk))
        if page == "kill":
            queue.leave(queue.find(pk).worker_id)  # it has stopped
        before = rooms()
        response = as_boss.post(url(model, page, pk), follow=True)
        assert response.status_code == 200
        assert messages_of(response)
        assert rooms() == before
        assert LogEntry.objects.count() == 1


# what they do


def test_retry_brings_the_job_back_and_keeps_the_filters_of_the_list(queue, as_boss):
    letter = die(queue, queue="emails")
    address = url("deadletterjob", "change", letter.pk) + "?_changelist_filters=queue%3Demails"
    html = as_boss.get(address).content.decode()
    assert f"{url('deadletterjob', 'retry', letter.pk)}?_changelist_filters=queue%3Demails" in html
    response = as_boss.post(url("deadletterjob", "retry", letter.pk) + "?_changelist_filters=queue%3Demails")
    assert response["Location"] == url("deadletterjob") + "?queue=emails"
    assert Job.objects.get().times_retried == 1


def test_a_button_on_an_old_page_does_not_retry_a_later_death(as_boss):
    letter = write_letter(lease_no=7)
    page = as_boss.get(url("deadletterjob", "change", letter.pk)).content.decode()
    assert '<input type="hidden" name="lease_no" value="7">' in page
    as_boss.post(url("deadletterjob", "retry", letter.pk), {"lease_no": "6"})
    assert DeadLetterJob.objects.exists()
    as_boss.post(url("deadletterjob", "retry", letter.pk), {"lease_no": "7"})
    assert not DeadLetterJob.objects.exists()


def test_a_letter_that_must_stay_dead_says_why(queue, as_boss):
    holder = push(queue, unique_key="k")
    letter = write_letter(unique_key="k")
    response = as_boss.post(url("deadletterjob", "retry", letter.pk), follow=True)
    assert str(holder) in messages_of(response)[0]
    assert DeadLetterJob.objects.get() == letter
    assert not LogEntry.objects.exists()


def test_running_jobs_are_told_to_stop_or_stopped_by_force(queue, as_boss):
    runs = claimed(queue)
    worker = queue.find(runs).worker_id
    response = as_boss.post(url("job", "cancel", runs), follow=True)
    assert "1 job cancelled, or asked to stop" in messages_of(response)[0]
    assert queue.cancellations(worker) == {runs: False}
    assert "asked to stop" in as_boss.get(url("job")).content.decode()
    response = as_boss.post(url("job", "kill", runs), follow=True)
    assert "1 job is stopped by force" in messages_of(response)[0]
    assert queue.cancellations(worker) == {runs: True}
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("id")] == [
        "Cancelled, or asked to stop.",
        "To be stopped by force.",
    ]


def test_waiting_jobs_are_cancelled_and_not_hurried_or_killed(queue, as_boss):
    ready = push(queue)
    response = as_boss.post(url("job", "run-now", ready), follow=True)
    assert "Nothing to hurry" in messages_of(response)[0]
    response = as_boss.post(url("job", "kill", ready), follow=True)
    assert "Nothing to stop" in messages_of(response)[0]
    as_boss.post(url("job", "cancel", ready))
    assert JobHistory.objects.get().outcome == "cancelled"


def test_selecting_across_pages_goes_in_chunks_and_only_over_what_is_filtered(as_boss, monkeypatch):
    monkeypatch.setattr(dead_letters, "CHUNK", 4)
    monkeypatch.setattr(dead_letters.id_chunks, "__defaults__", (4,))
    mine = [write_letter(queue="emails") for _ in range(10)]
    other = write_letter(queue="reports")
    response = as_boss.post(
        url("deadletterjob") + "?queue=emails",
        {"action": "retry_selected", "_selected_action": [str(mine[0].pk)], "select_across": "1"},
        follow=True,
    )
    assert "10 dead letters run again" in messages_of(response)[0]
    assert DeadLetterJob.objects.get() == other
    assert LogEntry.objects.count() == 10


def test_a_click_that_takes_too_long_stops_and_says_how_to_go_on(as_boss, monkeypatch):
    monkeypatch.setattr(operations, "SECONDS", -1.0)
    letter = write_letter()
    response = run_action(as_boss, "deadletterjob", "discard_selected", letter.pk)
    assert "Run the action again" in messages_of(response)[0]
    assert DeadLetterJob.objects.exists()


def test_many_refusals_are_not_many_messages(queue, as_boss):
    push(queue, unique_key="k")
    letters = [write_letter(unique_key="k") for _ in range(9)]
    response = run_action(as_boss, "deadletterjob", "retry_selected", *(one.pk for one in letters))
    assert len(messages_of(response)) == 6
    assert "4 more" in messages_of(response)[-1]


# an old list


def as_of(client):
    """The hidden field of the list, as the browser would send it back."""
    html = client.get(url("deadletterjob")).content.decode()
    [field] = re.findall(r'<input type="hidden" name="as_of"[^>]*>', html)
    assert inline_code(html) == []
    return re.search(r'value="([^"]*)"', field)[1]


def die_again(queue):
    worker = WorkerIdentity()
    queue.join(worker)
    job = queue.pop(["default"], worker.id)
    assert queue.settle([Settlement(job, Move.DEAD, reason="exhausted")]) == [True]


def test_three_clicks_on_one_list_are_one_more_run(queue, as_boss):
    """Between the clicks the job runs and dies again: its next death is not what the operator saw."""
    letter = die(queue)
    page = as_of(as_boss)
    run_action(as_boss, "deadletterjob", "retry_selected", letter.pk, as_of=page)
    die_again(queue)
    for _ in range(2):
        response = run_action(as_boss, "deadletterjob", "retry_selected", letter.pk, as_of=page)
        assert "somebody else was faster" in messages_of(response)[0]
    assert DeadLetterJob.objects.get().lease_no == 2
    run_action(as_boss, "deadletterjob", "retry_selected", letter.pk, as_of=as_of(as_boss))
    assert not DeadLetterJob.objects.exists()


@pytest.mark.parametrize("select_across", ["0", "1"])
def test_an_old_list_does_not_discard_a_later_death(queue, as_boss, select_across):
    letter, other = die(queue), die(queue)
    page = as_of(as_boss)
    run_action(as_boss, "deadletterjob", "retry_selected", letter.pk, as_of=page)
    die_again(queue)
    pks = [letter.pk, other.pk]
    run_action(as_boss, "deadletterjob", "discard_selected", *pks, as_of=page, select_across=select_across)
    assert DeadLetterJob.objects.get().pk == letter.pk


def test_a_button_on_an_old_page_does_not_discard_a_later_death(as_boss):
    letter = write_letter(lease_no=7)
    as_boss.post(url("deadletterjob", "discard", letter.pk), {"lease_no": "6"})
    assert DeadLetterJob.objects.exists()


def test_the_list_reaches_all_it_shows_however_the_clocks_differ(as_boss):
    ahead = write_letter(failed_at=timezone.now() + timedelta(minutes=5))
    write_letter(failed_at=timezone.now() + timedelta(days=30_000))
    run_action(as_boss, "deadletterjob", "retry_selected", ahead.pk, as_of=as_of(as_boss))
    assert DeadLetterJob.objects.count() == 1


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2024-13-45", "2001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9" * 10_000, None]
)
def test_a_list_time_that_is_none_narrows_nothing(as_boss, text):
    letter = write_letter()
    run_action(as_boss, "deadletterjob", "retry_selected", letter.pk, **({} if text is None else {"as_of": text}))
    assert not DeadLetterJob.objects.exists()


# retry with edited arguments


def edit_url(letter):
    return url("deadletterjob", "edit_retry", letter.pk)


def test_the_form_shows_the_call_and_what_the_task_takes(queue, as_boss):
    response = as_boss.get(edit_url(write_letter(args='{"args":[1],"kwargs":{"b":2}}')))
    html = response.content.decode()
    assert "add(a: &#x27;int&#x27;, b: &#x27;int&#x27;) -&gt; &#x27;int&#x27;" in html or "add(a: int, b: int)" in html
    assert response.context["form"]["args"].value() == "[\n  1\n]"
    assert response.context["form"]["kwargs"].value() == '{\n  "b": 2\n}'
    assert inline_code(html) == []


def test_good_arguments_replace_the_old_ones_and_it_is_written_down(queue, as_boss):
    letter = die(queue)
    response = as_boss.post(edit_url(letter), {"args": "[3]", "kwargs": ' {"b": 4} '}, follow=True)
    assert "runs again" in messages_of(response)[0]
    assert decode_call(Job.objects.get().args) == ([3], {"b": 4})
    assert LogEntry.objects.get().change_message == "Retried with edited arguments."


def test_arguments_nobody_could_read_can_be_written_anew(as_boss):
    letter = write_letter(args="{nonsense", reason="payload_invalid")
    assert "{nonsense" in as_boss.get(edit_url(letter)).content.decode()
    as_boss.post(edit_url(letter), {"args": "[1, 2]", "kwargs": ""})
    assert decode_call(Job.objects.get().args) == ([1, 2], {})


BAD_EDITS = [
    ("[1,", "{}", "args", ""),
    ("{}", "{}", "args", "JSON such as"),
    ("[1, 2]", "[]", "kwargs", "JSON such as"),
    ("[1, NaN]", "{}", "args", ""),
    ('["\\u0000", 1]', "{}", "args", "NUL"),
    ('["\\ud800", 1]', "{}", "args", "surrogate"),
    ("[" * 100_000, "{}", "args", ""),
    ("[1, 2]", '{"a": 1, "a": 2}', "kwargs", "twice"),
    ("[1]", "{}", None, "can't be called"),
    ("[1, 2]", '{"c": 3}', None, "can't be called"),
    ('["' + "x" * 300_000 + '", 1]', "{}", "args", "262,144"),
    ("9" * 5_000, "{}", "args", ""),
]


@pytest.mark.parametrize(("args", "kwargs", "field", "words"), BAD_EDITS, ids=range(len(BAD_EDITS)))
def test_bad_arguments_are_explained_and_nothing_moves(as_boss, args, kwargs, field, words):
    letter = write_letter()
    response = as_boss.post(edit_url(letter), {"args": args, "kwargs": kwargs})
    assert response.status_code == 200
    errors = response.context["form"].errors
    assert list(errors) == [field or "__all__"]
    assert words in str(errors.as_data()[field or "__all__"])
    assert DeadLetterJob.objects.get() == letter
    assert not LogEntry.objects.exists()
    assert inline_code(response.content.decode()) == []


def test_edited_retry_has_its_own_permission(queue):
    letter = write_letter()
    assert "/login/" in Client().get(edit_url(letter))["Location"]
    assert "/login/" in Client().post(edit_url(letter), {"args": "[1,2]"})["Location"]
    others = staff_with(*VIEW, *everyone_but("edit_retry_deadletterjob"))
    assert others.get(edit_url(letter)).status_code == 403
    assert others.post(edit_url(letter), {"args": "[1,2]"}).status_code == 403
    assert edit_url(letter) not in others.get(url("deadletterjob", "change", letter.pk)).content.decode()
    assert DeadLetterJob.objects.exists()
    allowed = staff_with(*VIEW, "edit_retry_deadletterjob")
    assert edit_url(letter) in allowed.get(url("deadletterjob", "change", letter.pk)).content.decode()
    assert allowed.get(edit_url(letter)).status_code == 200
    assert allowed.put(edit_url(letter)).status_code == 405
    assert allowed.post(edit_url(letter), {"args": "[1,2]"}).status_code == 302
    assert not DeadLetterJob.objects.exists()


def test_a_forged_edit_is_refused_csrf(boss):
    client = Client(enforce_csrf_checks=True)
    client.force_login(boss)
    letter = write_letter()
    assert client.post(edit_url(letter), {"args": "[1,2]"}).status_code == 403
    assert DeadLetterJob.objects.exists()


def test_an_edit_that_comes_too_late_says_so(as_boss):
    letter = write_letter(lease_no=3)
    response = as_boss.post(edit_url(letter), {"args": "[1,2]", "lease_no": "2"}, follow=True)
    assert "somebody else was faster" in messages_of(response)[0]
    DeadLetterJob.objects.all().delete()
    response = as_boss.post(edit_url(letter), {"args": "[1,2]"}, follow=True)
    assert "not here any more" in messages_of(response)[0]
    assert not Job.objects.exists()


def test_an_unknown_task_takes_any_arguments(as_boss):
    letter = write_letter(task="gone.away", reason="unknown_task")
    assert as_boss.get(edit_url(letter)).status_code == 200
    as_boss.post(edit_url(letter), {"args": '["anything"]', "kwargs": '{"at": "all"}'})
    assert decode_call(Job.objects.get().args) == (["anything"], {"at": "all"})


# fifty at once


@pytest.mark.django_db(transaction=True)
def test_fifty_parallel_clicks_make_one_new_run(queue, boss):
    letter = die(queue)
    clients = [Client() for _ in range(50)]
    for client in clients:
        client.force_login(boss)
    gate = threading.Barrier(50)
    codes, errors = [], []

    def click(client):
        try:
            gate.wait(60)
            codes.append(client.post(url("deadletterjob", "retry", letter.pk)).status_code)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=click, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert errors == []
    assert codes == [302] * 50
    assert JobPriority.objects.count() == 1
    assert Job.objects.get().task == ADD
    assert LogEntry.objects.count() == 1
