"""What the pages show, and that nothing stored can break or enter them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.models import (
    DeadLetterJob,
    DelayedJob,
    Job,
    JobBatch,
    JobDependency,
    JobHistory,
    JobLock,
    JobMetric,
    JobPriority,
    JobProgress,
    JobTag,
    RecurringJob,
    WorkerProcess,
)
from django_jobqueue.queues.base import WorkerIdentity
from tests.admin.conftest import inline_code, messages_of, push, staff_with, url
from tests.admin.schedules import leave, make
from tests.lifecycle.letters import ADD, die, letter_fields, write_history, write_letter
from tests.scheduling.conftest import _on as on
from tests.stores import ONE_STORE

pytestmark = pytest.mark.django_db

MODELS = {
    "job": Job,
    "jobhistory": JobHistory,
    "deadletterjob": DeadLetterJob,
    "workerprocess": WorkerProcess,
    "recurringjob": RecurringJob,
    "jobbatch": JobBatch,
}


def html_of(client, address):
    response = client.get(address)
    assert response.status_code == 200, (address, response.status_code)
    return response.content.decode()


def every_page(client):
    """All lists, all filters that can be clicked there, all detail pages, all edit pages: (address, html)."""
    for name, model in MODELS.items():
        yield url(name), html_of(client, url(name))
        for pk in model.objects.values_list("pk", flat=True):
            yield url(name, "change", pk), html_of(client, url(name, "change", pk))
            html_of(client, url(name, "history", pk))
    for pk in DeadLetterJob.objects.values_list("pk", flat=True):
        yield url("deadletterjob", "edit_retry", pk), html_of(client, url("deadletterjob", "edit_retry", pk))
    for pk, source in RecurringJob.objects.values_list("pk", "source"):
        for page in ["run", *(["edit"] if source == "admin" else [])]:
            yield url("recurringjob", page, pk), html_of(client, url("recurringjob", page, pk))
    yield url("recurringjob", "add"), html_of(client, url("recurringjob", "add"))


# live jobs


def test_the_job_list_says_where_each_job_is(queue, as_boss):
    push(queue, queue="a")
    push(queue, queue="b", delay=3600)
    push(queue, queue="c")
    worker = WorkerIdentity(name="busy-worker")
    queue.join(worker)
    queue.pop(["c"], worker.id)

    html = html_of(as_boss, url("job"))

    for words in ("waiting", "scheduled", "running", "busy-worker", "in 59 min"):
        assert words in html


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("room=ready", 1),
        ("room=delayed", 1),
        ("room=running", 1),
        ("queue=a", 1),
        ("queue=zzz", 0),
        (f"task={ADD}", 3),
        ("task=unheard.of", 0),
        ("room=nonsense", 3),
        ("q=add", 3),
        ("q=subtract", 0),
        ("q=01980f5e-8b1c-7d3e-9a61-0c5b7f0e2d44", 0),
    ],
)
def test_jobs_are_filtered(queue, as_boss, query, count):
    push(queue, queue="a")
    push(queue, queue="b", delay=3600)
    push(queue, queue="c")
    worker = WorkerIdentity()
    queue.join(worker)
    queue.pop(["c"], worker.id)
    assert len(as_boss.get(f"{url('job')}?{query}").context["cl"].result_list) == count


def test_an_id_finds_its_job_in_every_list(queue, as_boss):
    job_id, letter = push(queue), die(queue, queue="other")
    assert as_boss.get(url("job"), {"q": f" {job_id} "}).context["cl"].result_list[0].pk == job_id
    assert as_boss.get(url("deadletterjob"), {"q": str(letter.id)}).context["cl"].result_list[0].pk == letter.id
    assert as_boss.get(url("jobhistory"), {"q": str(letter.id)}).context["cl"].result_list[0].job_id == letter.id


def test_a_running_job_shows_its_worker_and_a_row_without_a_room_says_so(queue, as_boss):
    running = push(queue)
    worker = WorkerIdentity(name="busy-worker")
    queue.join(worker)
    queue.pop(["default"], worker.id)
    html = html_of(as_boss, url("job", "change", running))
    assert url("workerprocess", "change", worker.id) in html
    assert "add" in html_of(as_boss, url("workerprocess", "change", worker.id))
    JobLock.objects.all().delete()
    assert "It will never run" in html_of(as_boss, url("job", "change", running))


# dead letters


def test_a_dead_letter_shows_all_there_is_to_know(queue, as_boss):
    letter = die(queue, queue="emails", max_attempts=3, unique_key="order-7")
    html = html_of(as_boss, url("deadletterjob", "change", letter.id))
    for words in (
        "builtins.ValueError",
        "boom",
        "File &quot;x.py&quot;",
        "emails.dlq",
        "order-7",
        "undertaker",
        "7 ms",
    ):
        assert words in html
    assert "Attempt 1" in html
    assert "failed for good" in html


def test_the_summary_groups_by_task_and_error_and_its_rows_filter_the_list(as_boss):
    for _ in range(3):
        write_letter(task="shop.tasks.pay", error_class="shop.Declined")
    write_letter(error_class="")

    response = as_boss.get(url("deadletterjob"))
    first, second = response.context["triage"]

    assert (first["group"].count, first["error"], first["share"], second["share"]) == (3, "Declined", 100, 33)
    assert response.context["triage_total"] == 4
    filtered = as_boss.get(first["url"])
    assert filtered.context["cl"].result_count == 3
    assert filtered.context["triage"][0]["is_active"]
    assert as_boss.get(second["url"]).context["cl"].result_count == 1


def test_a_dead_letter_queue_is_a_filter_too(as_boss):
    write_letter(queue="emails")
    write_letter(queue="reports")
    assert as_boss.get(url("deadletterjob") + "?queue=emails.dlq").context["cl"].result_count == 1


# history


def test_history_shows_result_times_and_where_the_job_is_now(queue, as_boss):
    letter = die(queue)
    row = write_history(
        job_id=letter.id, lease_no=9, result='{"sent": true}', wait_ms=1_234, run_ms=90_000, memory_kb=99
    )
    html = html_of(as_boss, url("jobhistory", "change", row.pk))
    for words in ("sent", "1.2 s", "1 min 30 s", "99 KiB", url("deadletterjob", "change", letter.id)):
        assert words in html


def test_workers_that_are_silent_are_told_from_those_that_work(queue, as_boss):
    queue.join(WorkerIdentity(name="alive", queues=("emails", "reports")))
    queue.join(WorkerIdentity(name="gone"))
    WorkerProcess.objects.filter(name="gone").update(expires_at=timezone.now() - timedelta(minutes=1))
    html = html_of(as_boss, url("workerprocess"))
    assert html.count(">silent<") == 1
    assert "reports" in html


# nothing but looking


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"recurringjob"}))
def test_nothing_is_added_edited_or_deleted(as_boss, name, queue):
    push(queue)
    write_letter()
    write_history()
    queue.join(WorkerIdentity(name="w"))
    assert as_boss.get(url(name, "add")).status_code == 403
    for pk in MODELS[name].objects.values_list("pk", flat=True):
        assert as_boss.post(url(name, "change", pk), {"task": "evil"}).status_code == 405
        assert as_boss.get(url(name, "delete", pk)).status_code == 403
        assert as_boss.post(url(name, "delete", pk), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in html_of(as_boss, url(name))


@pytest.mark.parametrize("name", MODELS)
def test_a_page_of_a_row_that_is_gone_leads_back_to_the_list(as_boss, name):
    for pk in (uuid4(), "nonsense", "%00", "1"):
        response = as_boss.get(url(name, "change", pk), follow=True)
        assert response.status_code == 200
        assert "not here any more" in messages_of(response)[0]


@pytest.mark.parametrize(("name", "action"), [("deadletterjob", "retry_selected"), ("recurringjob", "pause_selected")])
@pytest.mark.parametrize("key", ["nonsense", "9" * 40, "\x00", ""])
def test_an_action_on_what_is_no_key_does_nothing_and_says_so(as_boss, name, action, key):
    response = as_boss.post(url(name), {"action": action, "_selected_action": [key]}, follow=True)
    assert messages_of(response) == ["One of the selected keys is none. Nothing was done."]


@pytest.mark.parametrize("database", [on("default"), on("postgres")])
@pytest.mark.parametrize("query", ["backend=%00", "source=%00", "name__exact=%00", "q=%00"])
def test_a_nul_in_the_address_is_no_error_of_ours(as_boss, settings, database, query):
    settings.TASKS = {"default": {**ONE_STORE["default"], "OPTIONS": {"database": database}}}
    assert as_boss.get(f"{url('recurringjob')}?{query}", follow=True).status_code == 200


@pytest.mark.parametrize("name", MODELS)
def test_looking_needs_the_permission_to_view(name):
    with_it, without = staff_with(f"view_{name}"), staff_with()
    assert with_it.get(url(name)).status_code == 200
    assert without.get(url(name)).status_code == 403
    if name == "deadletterjob":
        letter = write_letter()
        assert without.get(url(name, "change", letter.pk)).status_code == 403


# what anybody may write into the tables

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&\'{{ 7|add:7 }}{% now "Y" %}\u202e'


def fill_every_text(model, **fields):
    """A row whose every text is an attack."""
    values = {}
    for field in model._meta.concrete_fields:
        if field.get_internal_type() in ("CharField", "TextField"):
            values[field.attname] = EVIL[: field.max_length] if field.max_length else EVIL
        elif field.get_internal_type() == "DateTimeField":
            values[field.attname] = timezone.now()
        elif field.get_internal_type() in ("IntegerField", "BigIntegerField", "SmallIntegerField"):
            values[field.attname] = -7
    return model.objects.create(**{**values, **fields})


def test_nothing_stored_becomes_markup_p_xss(as_boss):
    job_id = uuid7()
    worker = fill_every_text(WorkerProcess, id=uuid7())
    fill_every_text(Job, id=job_id, unique_key=EVIL)
    fill_every_text(DelayedJob, job_id=job_id)
    running = fill_every_text(Job, id=uuid7(), unique_key="k")
    fill_every_text(JobLock, id=running.id, name="", worker_id=worker.id)
    fill_every_text(DeadLetterJob, id=uuid7(), batch_id=uuid4())
    fill_every_text(JobHistory, job_id=job_id, worker_id=worker.id)
    fill_every_text(RecurringJob, enabled=True)
    for number, source in enumerate(("admin", "code", "chore")):
        fill_every_text(RecurringJob, name=f"{EVIL}{number}", source=source, enabled=True, last_job_id=job_id)
    fill_every_text(JobBatch, id=uuid7())
    pages = list(every_page(as_boss))
    assert len(pages) > 12
    for address, html in pages:
        assert "<script>alert" not in html, address
        assert "<img src=x" not in html, address
        assert ">14<" not in html, address


def test_an_attack_in_the_address_stays_text(as_boss):
    write_letter()
    for name in ("job", "jobhistory", "deadletterjob"):
        for parameter in ("queue", "task", "q", "room", "error_class", "outcome__exact", "reason__exact"):
            response = as_boss.get(url(name), {parameter: EVIL}, follow=True)
            assert response.status_code == 200
            assert "<script>alert" not in response.content.decode()


def test_no_page_needs_inline_code_csp(queue, as_boss):
    die(queue, queue="emails")
    push(queue)
    write_history()
    queue.join(WorkerIdentity(name="w"))
    leave(make("nightly", failures=2, last_error="gone"), ["completed", "failed"])
    for address, html in every_page(as_boss):
        assert inline_code(html) == [], address


BAD_JSON = [
    "",
    "{",
    "null",
    "[]",
    '{"args": 1, "kwargs": 2}',
    "[" * 100_000,
    '{"args":[1e999],"kwargs":{}}',
    "9" * 9_000,
]


@pytest.mark.parametrize("text", BAD_JSON, ids=range(len(BAD_JSON)))
def test_arguments_that_are_no_arguments_are_shown_as_they_are(as_boss, text):
    job = Job.objects.create(
        id=uuid7(), queue="q", task="t", args=text, priority=0, max_attempts=1, created_at=timezone.now()
    )
    write_letter(args=text)
    write_history(args=text or "x", result=text or "x")
    assert "No worker can read this" in html_of(as_boss, url("job", "change", job.id))
    for _address, _html in every_page(as_boss):
        pass


GARBAGE_TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("moment", GARBAGE_TIMES, ids=str)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_garbage_in_every_table_leaves_every_page_standing(as_boss, moment, zone):
    with timezone.override(zone):
        write_garbage(moment)
        for _address, _html in every_page(as_boss):
            pass


def write_garbage(moment):
    """Rows no code of ours would write: no such job, no such worker, values at the ends of their ranges."""
    big, small = 2**31 - 1, -(2**15)
    job_id = uuid7()
    common = {"queue": "", "task": "", "args": "\x01\ud7ff" * 50, "priority": small, "max_attempts": small}
    Job.objects.create(id=job_id, created_at=moment, timeout=-1.5, batch_id=uuid4(), times_retried=small, **common)
    Job.objects.create(id=uuid4(), created_at=moment, **{**common, "task": "." * 255, "args": "x" * 300_000})
    JobPriority.objects.create(job_id=job_id, queue="", priority=small, seq=2**63 - 1, attempt=small, lease_no=-big)
    JobPriority.objects.create(job_id=uuid4(), queue="x" * 100, priority=0, seq=-(2**63))
    DelayedJob.objects.create(job_id=job_id, queue="", priority=0, due_at=moment, reason="???")
    DelayedJob.objects.create(job_id=uuid4(), queue="", priority=0, due_at=None, reason="blocked", waiting_on="w" * 200)
    JobLock.objects.create(id=job_id, worker_id=uuid4(), claimed_at=moment, attempt=small, lease_no=-big)
    JobLock.objects.create(id=uuid4(), name="a lock", claimed_at=moment)
    write_history(
        job_id=job_id,
        lease_no=-big,
        attempt=small,
        outcome="???",
        wait_ms=-(2**63),
        run_ms=2**63 - 1,
        memory_kb=-big,
        worker_id=uuid4(),
        enqueued_at=moment,
        started_at=None,
        finished_at=moment,
        queue="",
        task="",
    )
    write_history(job_id=job_id, lease_no=big, started_at=moment, traceback="t" * 300_000, error_message="m" * 300_000)
    DeadLetterJob.objects.create(
        **letter_fields(
            **common,
            reason="???",
            attempt=small,
            lease_no=-big,
            crashes=small,
            error_class="",
            error_message="m" * 300_000,
            traceback="t" * 300_000,
            failed_at=moment,
            enqueued_at=moment,
        )
    )
    WorkerProcess.objects.create(
        id=uuid7(),
        name="",
        host="",
        pid=-big,
        queues=",,,",
        state="???",
        running="r" * 5_000,
        completed=-(2**63),
        rss_kb=-big,
        started_at=moment,
        heartbeat_at=moment,
        expires_at=moment,
    )
    RecurringJob.objects.create(name="", task="", args="{", kind="???", expression="*", jitter=-1.0, next_run_at=moment)
    JobBatch.objects.create(id=uuid7(), total=-big, pending=-big, callbacks="{", created_at=moment, finished_at=moment)
    JobProgress.objects.create(job_id=job_id, lease_no=-big, updated_at=moment)
    JobTag.objects.create(tag="", job_id=job_id)
    JobDependency.objects.create(parent_id=job_id, child_id=job_id)
    JobMetric.objects.create(minute=moment, queue="", task="")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("jobqueue_jobs", "id"),
        ("jobqueue_jobs", "created_at"),
        ("jobqueue_jobs", "priority"),
        ("jobqueue_job_locks", "claimed_at"),
        ("jobqueue_job_locks", "worker_id"),
        ("jobqueue_job_priorities", "seq"),
        ("jobqueue_delayed_jobs", "due_at"),
        ("jobqueue_job_history", "finished_at"),
        ("jobqueue_job_history", "started_at"),
        ("jobqueue_job_history", "job_id"),
        ("jobqueue_job_history", "worker_id"),
        ("jobqueue_job_history", "run_ms"),
        ("jobqueue_dead_letter_jobs", "id"),
        ("jobqueue_dead_letter_jobs", "failed_at"),
        ("jobqueue_dead_letter_jobs", "attempt"),
        ("jobqueue_worker_processes", "id"),
        ("jobqueue_worker_processes", "expires_at"),
        ("jobqueue_worker_processes", "rss_kb"),
        ("jobqueue_recurring_jobs", "next_run_at"),
        ("jobqueue_recurring_jobs", "due_at"),
        ("jobqueue_job_batches", "created_at"),
    ],
)
@pytest.mark.parametrize("value", ["nonsense", "2026-99-99 25:61:61"])
def test_a_value_of_the_wrong_type_is_stepped_over(queue, as_boss, table, column, value):
    """SQLite stores any text in any column; Django then can't read the row."""
    assert connection.vendor == "sqlite"
    push(queue, delay=60)
    push(queue)
    running = push(queue)
    write_letter()
    worker = WorkerIdentity(name="w")
    queue.join(worker)
    write_history(job_id=running, worker_id=worker.id)
    JobLock.objects.create(id=running, worker_id=worker.id, claimed_at=timezone.now())
    fill_every_text(RecurringJob, enabled=True)
    for number, source in enumerate(("admin", "code", "chore")):
        fill_every_text(RecurringJob, name=f"{EVIL}{number}", source=source, enabled=True, last_job_id=running)
    fill_every_text(JobBatch, id=uuid7())
    keys = {name: [str(pk) for pk in model.objects.values_list("pk", flat=True)] for name, model in MODELS.items()}
    (model,) = connection.introspection.installed_models([table])
    key = model._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE {key} = (SELECT MIN({key}) FROM {table})", [value])
    for name, pks in keys.items():
        html_of(as_boss, url(name))
        for pk in pks:
            assert as_boss.get(url(name, "change", pk), follow=True).status_code == 200


def test_unreadable_rows_are_counted_and_the_rest_is_shown(queue, as_boss):
    good, bad = push(queue), push(queue)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobqueue_jobs SET created_at = '2026-99-99 25:61:61' WHERE id = %s", [bad.hex])
    response = as_boss.get(url("job"))
    assert [row.pk for row in response.context["cl"].result_list] == [good]
    assert "1 row of this page can't be read" in messages_of(response)[0]
