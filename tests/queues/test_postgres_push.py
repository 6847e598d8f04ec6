"""A fresh job that only has to run is written out as text, where its text is harmless: what is stored is the same."""

from __future__ import annotations

from enum import StrEnum

import pytest
from django.db import connections, transaction

from django_jobqueue import models
from django_jobqueue.exceptions import EnqueueError
from django_jobqueue.jobs.codec import encode_call
from django_jobqueue.queues.orm import OrmQueue
from django_jobqueue.queues.orm.postgresql import PostgreSQLDialect
from tests.queues.hooks import claim_one, job

pytestmark = pytest.mark.django_db(transaction=True, databases=["postgres"])

HARMLESS = "".join(map(chr, range(32, 127))).replace("'", "").replace("\\", "")
OTHERS = ["'", "\\", "\\'); DROP TABLE jobqueue_jobs; --", "x\ny\t", "\x7f", "ü€😀", "''"]


class Name(StrEnum):
    """Text that Python's formatting shows as something else."""

    WORST = "'"
    OTHER = "b"

    def __str__(self) -> str:
        return "a'); --"

    __format__ = None  # type: ignore[assignment]


@pytest.fixture
def queue():
    queue = OrmQueue("postgres", database="postgres")
    yield queue
    queue.close()


@pytest.fixture
def sent(monkeypatch):
    """What is sent as text."""
    texts, send = [], PostgreSQLDialect._send

    def note(self, text):
        texts.append(text)
        send(self, text)

    monkeypatch.setattr(PostgreSQLDialect, "_send", note)
    return texts


def set_strings(value):
    with connections["postgres"].cursor() as cursor:
        cursor.execute(f"SET standard_conforming_strings = {value}")


@pytest.mark.parametrize("strings", ["on", "off"])
def test_p1_whatever_the_text_it_is_stored_as_it_is(queue, sent, strings):
    set_strings(strings)
    texts = [HARMLESS, *OTHERS]
    payloads = [job(args=encode_call([text], {}), task=f"t.{number}") for number, text in enumerate(texts)]
    payloads += [job(task=text, concurrency_key=text) for text in texts]
    for one in payloads:
        assert queue.push(one, fresh=True) == [one.id]
    for one in payloads:
        found = claim_one(queue)
        assert (found.job_id, found.task, found.args) == (one.id, one.task, one.args)
        assert models.Job.objects.using("postgres").get(pk=one.id).concurrency_key == one.concurrency_key
    assert len(sent) == 1, "as the name of a task; in JSON the quotation mark has a backslash"
    set_strings("DEFAULT")


@pytest.mark.parametrize("name", list(Name))
def test_p1_what_is_text_by_inheritance_is_stored_by_its_value(queue, sent, name):
    queue.push(job(task=name, args=encode_call([1], {}), concurrency_key=name), fresh=True)
    assert claim_one(queue).task == name.value
    assert sent == []


def test_p1_text_by_inheritance_is_not_written_as_the_equal_text_before_it_was(queue, sent):
    for name in ("b", Name.OTHER, "b"):
        queue.push(job(task=name, args=encode_call([1], {}), concurrency_key=name), fresh=True)
        assert claim_one(queue).task == "b"
    assert len(sent) == 2


@pytest.mark.parametrize("text", [HARMLESS, *OTHERS])
def test_p1_one_like_a_template_is_stored_as_it_is(queue, text):
    template = job(task="a.task", priority=7, timeout=2.5, crash_budget=3, concurrency_key=text)
    for number in (1, 2):
        args = encode_call([text, number], {})
        [job_id] = queue.push_alike(template, [args])
        found = claim_one(queue)
        assert (found.job_id, found.task, found.args) == (job_id, "a.task", args)
        assert (found.priority, found.timeout, found.crash_budget) == (7, 2.5, 3)
        assert models.Job.objects.using("postgres").get(pk=job_id).concurrency_key == text


def test_p1_both_rows_of_a_job_are_stored_or_none(queue, sent):
    payload = job()
    models.JobPriority.objects.using("postgres").create(job_id=payload.id, queue="other", priority=0, seq=1)
    with pytest.raises(EnqueueError, match="jobqueue_job_priorities_pkey"):
        queue.push(payload, fresh=True)
    assert sent
    assert queue.find(payload.id) is None
    assert not models.Job.objects.using("postgres").exists()


def test_p1_in_the_callers_transaction_it_is_stored_with_it(queue, sent):
    kept, lost = job(), job()
    with transaction.atomic(using="postgres"):
        queue.push(kept, fresh=True)
    with transaction.atomic(using="postgres"):
        queue.push(lost, fresh=True)
        transaction.set_rollback(True, using="postgres")
    assert len(sent) == 2
    assert claim_one(queue).job_id == kept.id
    assert queue.size() == 1


def test_a_connection_that_is_lost_is_an_error_of_enqueue_and_the_next_one_works(queue, sent):
    queue.push(job(), fresh=True)
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = connections["postgres"].copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    other.close()
    for _ in range(2):
        with pytest.raises(EnqueueError, match="did not store the job"):
            queue.push(job(), fresh=True)
    connections["postgres"].close()
    queue.push(job(), fresh=True)
    assert len(sent) == 4
    assert queue.size() == 2
