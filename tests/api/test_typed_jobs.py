"""Typed jobs: what was given arrives, of the same types; what can't be read any more is a dead letter with a reason."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import django
import pytest
from asgiref.sync import async_to_sync

from django_jobqueue import Job, JobPayload, get_queue
from django_jobqueue.compat import InvalidTask, TaskResultStatus
from django_jobqueue.exceptions import PayloadError
from django_jobqueue.jobs.payload import InvalidPayload
from django_jobqueue.models import DeadLetterJob
from django_jobqueue.models import Job as JobRow
from django_jobqueue.testing import run_all
from tests.api import jobs
from tests.api.jobs import Colour, Everything, GoodBye, Hello, Level, Line, SendInvoice, Size, Strict, Unfinished

pytestmark = pytest.mark.django_db

EVERYTHING = Everything(
    when=datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    day=date(2026, 2, 28),
    hour=time(23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-3))),
    span=timedelta(days=-1, microseconds=1),
    amount=Decimal("9.90"),
    key=UUID(int=7),
    colour=Colour.BLUE,
    size=Size.SMALL,
    level=Level.HIGH,
    line=Line("a", Decimal("1E+3"), date(2026, 1, 1)),
    blob=b"\x00\xff",
    lines=[Line("b", Decimal("0.10"))],
    prices={"x": Decimal("-0.0")},
    either=date(2026, 1, 2),
)


@pytest.fixture(autouse=True)
def nothing_seen():
    jobs.SEEN.clear()


def write_args(job_id, **kwargs):
    """Somebody, or an older release, wrote other arguments."""
    JobRow.objects.filter(pk=job_id).update(args=json.dumps({"args": [], "kwargs": kwargs}))


class TestRoundTrip:
    @pytest.mark.parametrize("enqueue", [Everything.enqueue, lambda job: async_to_sync(job.aenqueue)()])
    def test_every_field_arrives_as_it_was(self, enqueue):
        enqueue(EVERYTHING)
        run_all()
        ((seen, _),) = jobs.SEEN
        assert seen == EVERYTHING
        assert repr(seen) == repr(EVERYTHING)
        assert (seen.when.utcoffset(), seen.when.fold) == (timedelta(hours=1), 1)
        assert str(seen.amount) == "9.90"

    def test_defaults_are_the_classes(self):
        SendInvoice(invoice_id=3).enqueue()
        run_all()
        ((seen, context),) = jobs.SEEN
        assert seen == SendInvoice(invoice_id=3)
        assert (seen.amount, seen.total) == (Decimal(1), 0)
        assert context.task_result.task.name == "SendInvoice"

    def test_the_result(self):
        result = SendInvoice(3, amount=Decimal("9.90")).enqueue()
        run_all()
        result.refresh()
        assert result.return_value == {"invoice": 3, "attempt": 1}
        assert SendInvoice.job_task.get_result(result.id) == result

    def test_fields_of_a_wrong_type_are_refused_with_their_path(self):
        with pytest.raises(PayloadError, match=r"^invoice_id: "):
            SendInvoice(invoice_id="3").enqueue()
        with pytest.raises(PayloadError, match=r"^line.price: "):
            Everything(**{**vars(EVERYTHING), "line": Line("a", 1.5)}).enqueue()
        assert not JobRow.objects.exists()

    def test_a_class_that_refuses_its_values_fails_like_any_job(self):
        result = Strict(3).enqueue()
        write_args(result.id, number=-3)
        run_all()
        letter = DeadLetterJob.objects.get()
        assert (letter.reason, letter.error_class, letter.error_message) == (
            "exhausted",
            "builtins.ValueError",
            "negative",
        )


class TestClass:
    def test_its_values_are_stored(self):
        row = JobRow.objects.get(pk=SendInvoice(3).enqueue().id)
        assert (row.task, row.queue, row.priority) == ("tests.api.jobs.SendInvoice", "emails", 50)
        assert (row.max_attempts, row.timeout) == (3, 20.0)
        assert json.loads(row.args) == {"args": [], "kwargs": {"invoice_id": 3, "amount": "1"}}

    def test_using(self):
        result = (
            SendInvoice(3).using(priority="low", queue_name="bulk", unique_key="k", run_after=timedelta(1)).enqueue()
        )
        row = JobRow.objects.get(pk=result.id)
        assert (row.queue, row.priority, row.unique_key, row.max_attempts) == ("bulk", -50, "k", 3)
        assert run_all() == []
        assert async_to_sync(SendInvoice(3).using(unique_key="k").aenqueue)().id == result.id

    def test_abstract_bases_share_fields_and_methods(self):
        Hello("Ada", loud=True).enqueue()
        GoodBye("Bob").enqueue()
        assert [one.return_value for one in run_all()] == ["HELLO Ada", "good bye Bob"]
        assert not hasattr(jobs.Greeting, "job_task")
        assert GoodBye.job_task.stored_name == "greetings.bye"

    def test_one_without_handle_says_what_is_missing(self):
        Unfinished().enqueue()
        run_all()
        assert "Unfinished must define handle(self, context)" in DeadLetterJob.objects.get().error_message

    def test_one_inside_a_function_is_no_task(self):
        with pytest.raises(InvalidTask, match="module level"):

            class Local(Job):
                pass

    def test_wrong_policies_are_refused_as_for_tasks(self):
        for wrong, match in [
            ({"priority": "urgent"}, "priority"),
            ({"timeout": 0}, "timeout"),
            ({"retry": 3}, "retry"),
        ]:
            with pytest.raises(InvalidTask, match=match):
                type("Wrong", (Job,), {"__module__": __name__, "__qualname__": "Wrong"}, **wrong)

    def test_results_can_be_copied(self):
        result = SendInvoice(3).enqueue()
        assert copy.deepcopy(result) == result

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="tasks can be pickled from Django 6.1 on")
    def test_results_can_be_pickled(self):
        result = SendInvoice(3).enqueue()
        assert pickle.loads(pickle.dumps(result)) == result
        assert pickle.loads(pickle.dumps(SendInvoice.job_task.using(priority=3))).priority == 3


class TestStoredFieldsThatDontFit:
    @pytest.mark.parametrize(
        "fields",
        [
            {"invoice_id": "three"},
            {"invoice_id": None},
            {"invoice_id": 3, "amount": "nine"},
            {"invoice_id": 3, "amount": {"$ne": 1}},
            {"invoice_id": [[[]]]},
        ],
    )
    def test_wrong_values_are_payload_invalid(self, fields):
        result = SendInvoice(3).enqueue()
        write_args(result.id, **fields)
        run_all()
        letter = DeadLetterJob.objects.get()
        assert (letter.reason, letter.attempt) == ("payload_invalid", 1)
        assert letter.error_message.startswith(("invoice_id: ", "amount: "))
        result.refresh()
        assert result.status == TaskResultStatus.FAILED
        assert jobs.SEEN == []

    @pytest.mark.parametrize(
        "fields",
        [
            {"invoice_id": 3, "removed": 1},
            {"amount": "1"},
            {"invoice_id": 3, "context": 1},
            {"invoice_id": 3, "total": 4},
        ],
    )
    def test_fields_that_are_gone_or_new_are_a_signature_mismatch(self, fields):
        result = SendInvoice(3).enqueue()
        write_args(result.id, **fields)
        run_all()
        letter = DeadLetterJob.objects.get()
        assert (letter.reason, letter.error_class) == (
            "signature_mismatch",
            "django_jobqueue.exceptions.SignatureMismatch",
        )
        assert "SendInvoice(context, invoice_id, amount)" in letter.error_message

    def test_positional_arguments_are_a_signature_mismatch(self):
        result = SendInvoice(3).enqueue()
        JobRow.objects.filter(pk=result.id).update(args='{"args":[3],"kwargs":{}}')
        run_all()
        assert DeadLetterJob.objects.get().reason == "signature_mismatch"

    def test_a_field_that_came_later_has_its_default(self):
        result = SendInvoice(3).enqueue()
        write_args(result.id, invoice_id=3)
        run_all()
        assert jobs.SEEN[0][0] == SendInvoice(3)


class TestPayload:
    def test_of_a_typed_job_in_each_shape(self):
        job = SendInvoice(3, Decimal("9.90"))
        plain, critical, background = (
            shape(job) for shape in (JobPayload.immediate, JobPayload.critical, JobPayload.background)
        )
        assert (plain.task, plain.queue, plain.priority) == ("tests.api.jobs.SendInvoice", "emails", 50)
        assert (plain.max_attempts, plain.timeout, plain.is_delayed) == (3, 20, False)
        assert (critical.priority, background.priority) == (100, -50)
        assert JobPayload.delayed(job, timedelta(minutes=5)).delay == 300
        assert json.loads(plain.args)["kwargs"] == {"invoice_id": 3, "amount": "9.90"}
        bound = JobPayload.create(
            job.using(queue_name="bulk", run_after=datetime(2030, 1, 1, tzinfo=UTC)), priority="low"
        )
        assert (bound.queue, bound.priority, bound.run_after.year) == ("bulk", -50, 2030)

    def test_pushed_it_runs(self):
        queue = get_queue()
        queue.push(JobPayload.immediate(SendInvoice(3)), JobPayload.delayed(SendInvoice(4), timedelta(hours=1)))
        (ran,) = run_all()
        assert ran.return_value["invoice"] == 3
        assert queue.stats("emails")[0].delayed == 1

    def test_by_its_name_with_its_fields_as_json(self):
        get_queue().push(JobPayload.create("tests.api.jobs.SendInvoice", kwargs={"invoice_id": 3, "amount": "9.90"}))
        run_all()
        assert jobs.SEEN[0][0] == SendInvoice(3, Decimal("9.90"))

    def test_a_class_is_no_job(self):
        with pytest.raises(InvalidPayload, match="an instance of a Job"):
            JobPayload.create(SendInvoice, kwargs={"invoice_id": 3})
