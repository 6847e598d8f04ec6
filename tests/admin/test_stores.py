"""Two stores behind one admin: each row goes to its own, and one that is away takes no page with it."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory, WorkerProcess
from django_jobqueue.queues import get_queue
from django_jobqueue.queues.base import WorkerIdentity
from tests.admin.conftest import inline_code, messages_of, push, staff_with, url
from tests.admin.test_pages import EVIL, every_page, html_of
from tests.lifecycle.letters import ADD, die, write_history, write_letter
from tests.stores import NOBODY_LISTENS, ONE_STORE, empty_fast, show, two_stores

pytestmark = pytest.mark.django_db(transaction=True)
redis = pytest.mark.redis


@pytest.fixture
def fast(settings):
    settings.TASKS = two_stores()
    return empty_fast()


@pytest.fixture
def away(settings):
    """The store `fast`, whose server does not answer."""
    settings.TASKS = two_stores(NOBODY_LISTENS)
    return get_queue("fast")


def queues_url():
    return reverse("admin:django_jobqueue_job_queues")


def find_url(text):
    return f"{reverse('admin:django_jobqueue_job_find')}?id={text}"


def live_url(job_id, page="live", alias="fast"):
    return reverse(f"admin:django_jobqueue_job_{page}", args=[alias, job_id])


def run_action(client, action, *pks, model="deadletterjob"):
    return client.post(url(model), {"action": action, "_selected_action": [str(pk) for pk in pks]}, follow=True)


# lists


def test_one_store_needs_no_filter_and_no_column(settings, as_boss):
    settings.TASKS = ONE_STORE
    write_letter()
    write_history()
    for name in ("deadletterjob", "jobhistory", "workerprocess"):
        response = as_boss.get(url(name))
        assert "store_name" not in response.context["cl"].list_display
        assert "store" not in [spec.parameter_name for spec in response.context["cl"].filter_specs if is_ours(spec)]


def is_ours(spec):
    return hasattr(spec, "parameter_name")


@pytest.mark.parametrize("name", ["deadletterjob", "jobhistory", "workerprocess"])
def test_two_stores_are_told_apart(away, as_boss, name):
    for store in ("", "fast"):
        write_letter(store=store, queue=f"q{store}")
        row = write_history(store=store)
        moment = row.finished_at
        times = {"started_at": moment, "heartbeat_at": moment, "expires_at": moment}
        WorkerProcess.objects.create(id=row.job_id, pid=1, store=store, **times)
    whole = as_boss.get(url(name))
    assert "store_name" in whole.context["cl"].list_display
    assert [len(whole.context["cl"].result_list)] == [2]
    assert "?store=fast" in whole.content.decode()
    for store in ("", "fast"):
        (row,) = as_boss.get(url(name), {"store": store}).context["cl"].result_list
        assert row.store == store
    assert as_boss.get(url(name), {"store": "gone"}).context["cl"].result_list == []
    assert as_boss.get(url(name), {"store": EVIL}).status_code == 200


def test_the_summary_is_of_the_chosen_store(away, as_boss):
    for store, count in (("", 1), ("fast", 2)):
        for _ in range(count):
            write_letter(store=store)
    assert as_boss.get(url("deadletterjob")).context["triage_total"] == 3
    chosen = as_boss.get(url("deadletterjob"), {"store": "fast"})
    assert chosen.context["triage_total"] == 2
    (row,) = chosen.context["triage"]
    assert "store=fast" in row["url"]
    assert len(as_boss.get(row["url"]).context["cl"].result_list) == 2


# dead letters


@redis
def test_letters_of_both_stores_in_one_action_go_each_to_its_own(fast, queue, as_boss):
    mine, theirs = die(queue), die(fast)
    response = run_action(as_boss, "retry_selected", mine.pk, theirs.pk)
    assert messages_of(response) == ["2 dead letters run again."]
    assert not DeadLetterJob.objects.exists()
    assert (queue.find(mine.pk) is not None, queue.find(theirs.pk)) == (True, None)
    assert (fast.find(theirs.pk) is not None, fast.find(mine.pk)) == (True, None)
    assert LogEntry.objects.count() == 2


@redis
def test_the_buttons_of_a_letter_reach_its_store(fast, as_boss):
    retried, edited, let_go = die(fast), die(fast), die(fast)
    assert "fast" in html_of(as_boss, url("deadletterjob", "change", retried.pk))
    as_boss.post(url("deadletterjob", "retry", retried.pk), {"lease_no": retried.lease_no})
    as_boss.post(url("deadletterjob", "edit_retry", edited.pk), {"args": "[3]", "kwargs": '{"b": 4}'})
    as_boss.post(url("deadletterjob", "discard", let_go.pk))
    assert fast.find(retried.pk).args == retried.args
    assert fast.find(edited.pk).args == '{"args":[3],"kwargs":{"b":4}}'
    assert JobHistory.objects.get(outcome="discarded").store == "fast"
    assert not DeadLetterJob.objects.exists()
    assert LogEntry.objects.count() == 3


def test_a_store_that_is_away_does_not_hold_up_the_others(away, queue, as_boss):
    mine, theirs = write_letter(), write_letter(store="fast")
    response = run_action(as_boss, "retry_selected", theirs.pk, mine.pk)
    done, problem = messages_of(response)
    assert done == "1 dead letter runs again."
    assert "“fast” is out of reach, the rest is as it was" in problem
    assert DeadLetterJob.objects.get() == theirs
    assert queue.find(mine.pk) is not None
    assert LogEntry.objects.get().object_id == str(mine.pk)


def test_an_edit_for_a_store_that_is_away_keeps_what_was_typed(away, as_boss):
    letter = write_letter(store="fast")
    response = as_boss.post(url("deadletterjob", "edit_retry", letter.pk), {"args": "[5]", "kwargs": '{"b": 6}'})
    assert response.status_code == 200
    assert "did not answer" in response.content.decode()
    assert response.context["form"]["args"].value() == "[5]"
    assert DeadLetterJob.objects.get() == letter


def test_a_letter_of_a_store_that_is_not_in_the_settings_any_more_says_so(as_boss):
    letter, mine = write_letter(store="gone"), write_letter()
    response = run_action(as_boss, "retry_selected", letter.pk, mine.pk)
    assert messages_of(response) == [
        "1 dead letter runs again.",
        "No entry of TASKS is the store “gone” any more.",
    ]
    edit = url("deadletterjob", "edit_retry", letter.pk)
    assert "any more" in as_boss.post(edit, {"args": "[1,2]"}).content.decode()
    assert DeadLetterJob.objects.get() == letter


# a store that is away, or can't be made


def rows_of_fast():
    write_letter(store="fast")
    write_history(store="fast", outcome="retrying")
    write_history(store="fast")
    moment = write_history(store="fast").finished_at
    times = {"started_at": moment, "heartbeat_at": moment, "expires_at": moment}
    WorkerProcess.objects.create(id=uuid7(), pid=1, store="fast", **times)
    on_its_way(Job.objects.create(**job_fields()))


def job_fields(**fields):
    moment = write_history().finished_at
    return {"id": uuid7(), "queue": "q", "task": ADD, "args": "{}", "priority": 0, "max_attempts": 1} | {
        "created_at": moment,
        **fields,
    }


def on_its_way(job):
    DelayedJob.objects.create(job=job, queue=job.queue, priority=0, reason="outbox", waiting_on="fast")
    return job


def test_every_page_stands_while_a_store_is_away(away, as_boss):
    rows_of_fast()
    for _address, html in every_page(as_boss):
        assert inline_code(html) == []
    for address in (queues_url(), live_url(uuid7())):
        html = html_of(as_boss, address)
        assert "The store “fast” is out of reach" in html
        assert inline_code(html) == []


WRONG = [{"connection": "no such cache"}, {"url": "nonsense"}, {}, {"url": "redis://h", "connection": "redis"}]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_every_page_stands_while_a_store_is_wrongly_described(settings, as_boss, options, queue):
    push(queue)
    settings.TASKS = two_stores(options)
    rows_of_fast()
    for _address, _html in every_page(as_boss):
        pass
    html = html_of(as_boss, queues_url())
    assert "jq-failure" in html
    assert "default" in html


def test_looking_for_a_job_goes_on_without_the_store_that_is_away(away, as_boss):
    letter = write_letter()
    response = as_boss.get(find_url(letter.pk))
    assert response["Location"] == url("deadletterjob", "change", letter.pk)
    assert "did not answer" in messages_of(as_boss.get(url("job")))[0]


def test_buttons_for_a_store_that_is_away_say_so(away, as_boss):
    response = as_boss.post(live_url(uuid7(), "live_cancel"), follow=True)
    assert response.status_code == 200
    assert "did not answer" in messages_of(response)[0]
    assert not LogEntry.objects.exists()


def test_a_job_on_its_way_to_a_store_that_is_away_is_cancelled_or_says_why_not(away, as_boss):
    job = on_its_way(Job.objects.create(**job_fields()))
    assert "on its way" in html_of(as_boss, url("job"))
    response = run_action(as_boss, "cancel_selected", job.pk, model="job")
    (said,) = messages_of(response)
    assert ("did not answer" in said) == Job.objects.exists()


# the queues of all stores


@redis
def test_the_queues_of_all_stores_stand_side_by_side(fast, queue, as_boss):
    push(queue, queue="emails")
    push(queue, queue="emails", delay=60)
    waiting, _ = push(fast, queue="quick"), push(fast, queue="quick", delay=60)
    die(fast, queue="bad")
    show(fast, WorkerIdentity(name="w"))
    response = as_boss.get(queues_url())
    mine, theirs = response.context["stores"]
    assert (mine.alias, str(mine.kind), mine.workers) == ("default", "database default", "no worker")
    assert (theirs.alias, str(theirs.kind), theirs.workers) == ("fast", "Redis", "1 worker")
    counts = {row["name"]: tuple(row["stats"])[1:5] for row in [*mine.rows, *theirs.rows]}
    assert counts == {"emails": (1, 1, 0, 0), "quick": (1, 1, 0, 0), "bad": (0, 0, 0, 1)}
    html = response.content.decode()
    assert live_url(waiting) in html
    assert inline_code(html) == []
    assert f"{url('job')}?queue=emails" in html
    assert "queue=bad&amp;store=fast" in html
    assert queues_url() in html_of(as_boss, url("job"))


@redis
def test_nothing_stored_becomes_markup_here_either(fast, as_boss):
    job_id = push(fast, task=EVIL[:255], args=EVIL)
    for address in (queues_url(), live_url(job_id)):
        html = html_of(as_boss, address)
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert ">14<" not in html


def test_a_store_with_many_queues_shows_some(settings, queue, as_boss, monkeypatch):
    monkeypatch.setattr("django_jobqueue.admin.queues.QUEUES_SHOWN", 2)
    settings.TASKS = ONE_STORE
    for name in "abcde":
        push(queue, queue=name)
    assert "and 3 more queues" in html_of(as_boss, queues_url())


@pytest.mark.parametrize("column", ["job_id", "seq", "attempt"])
def test_garbage_at_the_head_of_a_line_leaves_the_page_standing(settings, queue, as_boss, column):
    settings.TASKS = ONE_STORE
    push(queue, queue="emails")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobqueue_job_priorities SET {column} = 'nonsense'")
    html = html_of(as_boss, queues_url())
    assert ("can't be read" if column == "seq" else "emails") in html.replace("&#x27;", "'")


def test_looking_at_queues_and_for_jobs_needs_the_permission_to_view_jobs(away):
    for address in (queues_url(), find_url(uuid7()), live_url(uuid7())):
        assert staff_with().get(address).status_code == 403
        assert staff_with("cancel_job", "run_job_now").get(address).status_code == 403
        assert staff_with("view_job").get(address).status_code in (200, 302)
        assert "/login/" in Client().get(address)["Location"]


# where is it?


@redis
def test_an_id_leads_to_its_job_wherever_it_is(fast, queue, as_boss):
    letter, over = write_letter(store="fast"), write_history(store="fast")
    here, there = push(queue), push(fast)
    pages = {
        here: url("job", "change", here),
        there: live_url(there),
        letter.pk: url("deadletterjob", "change", letter.pk),
        over.job_id: f"{url('jobhistory')}?q={over.job_id}",
    }
    for job_id, page in pages.items():
        assert as_boss.get(find_url(f"%20{job_id}"))["Location"] == page
        assert as_boss.get(page).status_code == 200


@pytest.mark.parametrize("text", ["", "nonsense", "%00", "1" * 999, uuid7()])
def test_what_is_nowhere_is_told(settings, as_boss, text):
    settings.TASKS = ONE_STORE
    response = as_boss.get(find_url(text), follow=True)
    assert response.status_code == 200
    (said,) = messages_of(response)
    assert "no job id" in said or "knows the job" in said


@redis
def test_old_links_and_the_audit_lead_to_jobs_that_have_no_row(fast, as_boss):
    job_id = push(fast)
    assert as_boss.get(url("job", "change", job_id))["Location"] == live_url(job_id)
    assert as_boss.get(url("job", "change", uuid7()))["Location"] == url("job")
    row = write_history(store="fast", job_id=job_id, outcome="retrying")
    assert live_url(job_id) in html_of(as_boss, url("jobhistory", "change", row.pk))


# one live job


@redis
def test_a_live_job_shows_what_its_store_knows(fast, as_boss):
    job_id = push(fast, queue="quick", args='{"args":[7],"kwargs":{"to":"me"}}', max_attempts=3)
    write_history(store="fast", job_id=job_id, outcome="retrying", error_class="shop.Declined")
    worker = WorkerIdentity(name="busy-worker")
    show(fast, worker)
    fast.pop(["quick"], worker.id)
    html = html_of(as_boss, live_url(job_id))
    for words in ("running", "busy-worker", "quick", "Declined", "1 of 3", "fast", "&quot;me&quot;"):
        assert words in html
    assert inline_code(html) == []
    assert as_boss.post(live_url(job_id)).status_code == 405


@redis
def test_a_live_job_that_has_ended_leads_to_what_became_of_it(fast, as_boss):
    letter, nowhere = die(fast), uuid7()
    assert as_boss.get(live_url(letter.pk))["Location"] == url("deadletterjob", "change", letter.pk)
    assert as_boss.get(live_url(nowhere))["Location"] == queues_url()
    assert as_boss.get(live_url(nowhere, alias="unheard-of")).status_code == 404


BUTTONS = [("live_cancel", "cancel_job"), ("live_run-now", "run_job_now")]


@redis
@pytest.mark.parametrize(("page", "permission"), BUTTONS)
class TestButton:
    def test_only_a_post_of_whom_it_is_for_does_anything(self, fast, page, permission):
        job_id = push(fast, delay=3600)
        address = live_url(job_id, page)
        others = [one for _, one in BUTTONS if one != permission]
        assert staff_with("view_job", permission).get(address).status_code == 405
        assert "/login/" in Client().post(address)["Location"]
        assert staff_with("view_job", *others).post(address).status_code == 403
        assert fast.find(job_id).room == "delayed"
        assert not LogEntry.objects.exists()

        client = staff_with("view_job", permission)
        assert f'action="{address}"' in html_of(client, live_url(job_id))
        assert f'action="{address}"' not in html_of(staff_with("view_job", *others), live_url(job_id))
        assert client.post(address)["Location"] == queues_url()
        found = fast.find(job_id)
        assert found is None if page == "live_cancel" else found.room == "ready"
        entry = LogEntry.objects.get()
        assert (entry.object_id, entry.content_type.model) == (str(job_id), "job")
        assert ADD in entry.object_repr

    def test_the_permission_alone_is_enough_and_shows_nothing(self, fast, page, permission):
        client = staff_with(permission)
        assert client.post(live_url(push(fast, delay=60), page))["Location"] == "/admin/"
        assert LogEntry.objects.exists()

    def test_a_forged_post_is_refused_csrf(self, fast, boss, page, permission):
        client = Client(enforce_csrf_checks=True)
        client.force_login(boss)
        job_id = push(fast, delay=60)
        assert client.post(live_url(job_id, page)).status_code == 403
        assert fast.find(job_id).room == "delayed"

    def test_a_second_click_finds_nothing_and_says_so(self, fast, as_boss, page, permission):
        job_id = push(fast, delay=60)
        as_boss.post(live_url(job_id, page))
        assert messages_of(as_boss.post(live_url(job_id, page), follow=True))
        assert LogEntry.objects.count() == 1


# on its way


@redis
def test_a_job_on_its_way_to_redis_is_cancelled_there(fast, as_boss):
    with transaction.atomic():
        (job_id,) = fast.push(JobPayload(task=ADD, args="{}"))
        DelayedJob.objects.filter(pk=job_id).update(waiting_on="fast")
        run_action(as_boss, "cancel_selected", job_id, model="job")
    assert fast.find(job_id) is None
    assert not Job.objects.exists()
    assert LogEntry.objects.get().object_id == str(job_id)
