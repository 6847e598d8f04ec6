"""Enqueue, look, run, look again: what Django's documentation says a result tells."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from django_jobqueue import get_queue
from django_jobqueue.compat import (
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    task_backends,
)
from django_jobqueue.exceptions import PayloadError
from django_jobqueue.models import DeadLetterJob, Job, JobHistory
from django_jobqueue.testing import run_all
from tests.api import tasks

pytestmark = pytest.mark.django_db

WAYS = {
    "enqueue": lambda task, *args, **kwargs: task.enqueue(*args, **kwargs),
    "aenqueue": lambda task, *args, **kwargs: async_to_sync(task.aenqueue)(*args, **kwargs),
    "backend": lambda task, *args, **kwargs: task.get_backend().enqueue(task, args, kwargs),
    "abackend": lambda task, *args, **kwargs: async_to_sync(task.get_backend().aenqueue)(task, args, kwargs),
}


@pytest.fixture(params=WAYS)
def enqueue(request):
    return WAYS[request.param]


class TestEnqueue:
    def test_gives_a_ready_result(self, enqueue):
        before = timezone.now()
        result = enqueue(tasks.echo, 1, two=3)
        assert result.status == TaskResultStatus.READY
        assert before <= result.enqueued_at <= timezone.now()
        assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
        assert (result.args, result.kwargs) == ([1], {"two": 3})
        assert (result.task, result.backend) == (tasks.echo, "default")
        assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
        assert not result.is_finished
        assert len(result.id) < 64
        assert UUID(result.id).version == 7
        with pytest.raises(ValueError, match="Task has not finished yet"):
            _ = result.return_value

    def test_arguments_are_what_json_makes_of_them(self, enqueue):
        given = (1, (2, [3])), b"caf\xc3\xa9", {1: "one", None: {"a": (1.5,)}}
        result = enqueue(tasks.echo, *given, flag=True)
        assert result.args == [[1, [2, [3]]], "café", {"1": "one", "null": {"a": [1.5]}}]
        run_all()
        assert [(tuple(result.args), {"flag": True})] == tasks.CALLS

    @pytest.mark.parametrize("wrong", [datetime.now(), date.today(), Decimal(1), uuid4(), object(), {1}, iter([])])
    def test_what_json_has_no_word_for_is_a_type_error(self, enqueue, wrong):
        with pytest.raises(TypeError, match=r"args\[0\].when: Unsupported type"):
            enqueue(tasks.echo, {"when": wrong})
        with pytest.raises(TypeError, match=r"kwargs.when: Unsupported type"):
            enqueue(tasks.echo, when=wrong)
        assert not Job.objects.exists()

    def test_what_no_database_stores_is_refused_with_its_path(self, enqueue):
        loop = []
        loop.append(loop)
        for wrong in ("nul\x00", "\ud800", float("nan"), float("-inf"), {1: 1, "1": 2}, 10**5000, loop, "x" * 300_000):
            with pytest.raises(PayloadError, match=r"^(args\[0\]|arguments)"):
                enqueue(tasks.echo, wrong)

    def test_it_is_stored_with_the_tasks_values(self):
        job = Job.objects.get(pk=tasks.named.enqueue(7).id)
        assert (job.task, job.queue, job.priority) == ("shop.orders.import", "emails", 50)
        assert (job.max_attempts, job.timeout) == (3, 30.0)
        assert job.args == '{"args":[7],"kwargs":{}}'

    def test_and_with_those_of_using(self):
        bound = tasks.named.using(priority="low", queue_name="bulk", unique_key="k", concurrency_key="c", timeout=5)
        job = Job.objects.get(pk=bound.enqueue(7).id)
        assert (job.queue, job.priority, job.timeout, job.unique_key, job.concurrency_key) == (
            "bulk",
            -50,
            5.0,
            "k",
            "c",
        )

    def test_run_after_waits(self, enqueue):
        result = enqueue(tasks.echo.using(run_after=timedelta(hours=1)))
        assert run_all() == []
        assert get_queue().run_now(UUID(result.id))
        assert [one.id for one in run_all()] == [result.id]

    def test_a_rolled_back_transaction_takes_its_jobs_with_it(self):
        with transaction.atomic():
            kept = tasks.echo.enqueue()
            with transaction.atomic():
                gone = tasks.echo.enqueue()
                transaction.set_rollback(True)
        with pytest.raises(TaskResultDoesNotExist):
            gone.refresh()
        assert [one.id for one in run_all()] == [kept.id]

    def test_a_moment_in_the_past_is_now(self):
        tasks.echo.using(run_after=timezone.now() - timedelta(days=1)).enqueue()
        assert len(run_all()) == 1


class TestRun:
    @pytest.mark.parametrize("task", [tasks.echo, tasks.echo_async])
    def test_a_successful_result(self, task):
        result = task.enqueue(1, two=3)
        (ran,) = run_all()
        result.refresh()
        for seen in (ran, result, task.get_result(result.id), async_to_sync(task.aget_result)(result.id)):
            assert seen.id == result.id
            assert seen.status == TaskResultStatus.SUCCESSFUL
            assert seen.is_finished
            assert seen.return_value == [[1], {"two": 3}]
            assert seen.started_at == seen.last_attempted_at
            assert seen.enqueued_at <= seen.started_at <= seen.finished_at <= timezone.now()
            assert (seen.attempts, len(seen.worker_ids), seen.errors) == (1, 1, [])
            assert (seen.args, seen.kwargs, seen.task) == ([1], {"two": 3}, task)

    @pytest.mark.parametrize(
        ("task", "kind", "message"),
        [
            (tasks.fail, ValueError, "no"),
            (tasks.fail_async, ValueError, "no"),
            (tasks.leave, SystemExit, "This task failed due to SystemExit"),
        ],
    )
    def test_a_failed_result(self, task, kind, message):
        result = task.enqueue()
        run_all()
        async_to_sync(result.arefresh)()
        assert result.status == TaskResultStatus.FAILED
        assert result.is_finished
        with pytest.raises(ValueError, match="Task failed"):
            _ = result.return_value
        assert result.started_at <= result.finished_at
        assert result.last_attempted_at == result.started_at
        (error,) = result.errors
        assert error.exception_class is kind
        assert error.traceback.endswith(f"{kind.__name__}: {message}\n")
        assert "Traceback (most recent call last)" in error.traceback
        assert (result.attempts, result.args) == (1, [])

    def test_a_job_waiting_for_its_retry_is_ready_and_has_its_errors(self):
        result = tasks.fail_later.enqueue()
        (ran,) = run_all()
        assert ran.status == TaskResultStatus.READY
        result.refresh()
        assert result.status == TaskResultStatus.READY
        assert [error.exception_class for error in result.errors] == [ConnectionError]
        assert (result.attempts, result.finished_at) == (1, None)
        assert result.started_at is not None

    def test_a_job_that_runs_is_running(self):
        result = tasks.attempt.enqueue()
        run_all()
        assert tasks.CALLS == [(1, TaskResultStatus.RUNNING, 1)]
        result.refresh()
        assert result.return_value == 1

    def test_a_reserved_job_is_running_for_whoever_looks(self):
        from django_jobqueue.queues.base import WorkerIdentity

        result = tasks.echo.enqueue()
        queue, worker = get_queue(), WorkerIdentity(name="w")
        queue.join(worker)
        queue.pop((), worker.id)
        result.refresh()
        assert result.status == TaskResultStatus.RUNNING
        assert (result.worker_ids, result.attempts) == ([str(worker.id)], 1)
        assert result.started_at == result.last_attempted_at is not None

    def test_return_values_are_what_json_makes_of_them(self):
        result = tasks.as_tuple.enqueue()
        (ran,) = run_all()
        result.refresh()
        assert ran.return_value == result.return_value == [1, [2, 3]]

    @pytest.mark.parametrize("value", [None, 0, "", [], {}, False, 1.5, "null", {"a": None}])
    def test_falsy_values_come_back_as_themselves(self, value):
        result = tasks.give.enqueue(value)
        run_all()
        result.refresh()
        assert result.return_value == value
        assert type(result.return_value) is type(value)

    def test_context(self):
        result = tasks.own_id.enqueue()
        second = tasks.attempt_async.enqueue()
        assert [one.return_value for one in run_all()] == [result.id, 1]
        assert second.id != result.id

    def test_attempts_are_counted_in_context_and_result(self):
        result = tasks.succeed_at.enqueue(3)
        run_all()
        result.refresh()
        assert tasks.CALLS == [1, 2, 3]
        assert (result.return_value, result.attempts) == (3, 3)
        assert [error.exception_class for error in result.errors] == [ConnectionError] * 2
        assert result.started_at <= result.last_attempted_at <= result.finished_at

    def test_cancelled_is_failed(self):
        result = tasks.echo.enqueue()
        assert get_queue().cancel(UUID(result.id))
        result.refresh()
        assert result.status == TaskResultStatus.FAILED
        assert (result.attempts, result.errors) == (0, [])
        assert run_all() == []


class TestGetResult:
    @pytest.mark.parametrize(
        "result_id",
        [
            *("123", "", " ", "x" * 10_000, "0" * 10_000, "nul\x00", "\ud800", "{", "urn:uuid:", "not-a-uuid-" * 3),
            *("0x" + "1" * 30, "\u0661" * 32),  # int() reads both
            *(None, 0, 123, -1, 10**40, 10**5000, 1.5, b"bytes", [], {}, object()),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_no_id_whatever_it_is_raises_anything_else(self, result_id):
        for get in (tasks.echo.get_result, async_to_sync(tasks.echo.aget_result), task_backends["default"].get_result):
            with pytest.raises(TaskResultDoesNotExist):
                get(result_id)

    def test_an_unknown_id(self):
        with pytest.raises(TaskResultDoesNotExist):
            tasks.echo.get_result(str(uuid4()))

    def test_an_id_in_any_spelling(self):
        result = tasks.echo.enqueue()
        job_id = UUID(result.id)
        for spelling in (job_id, job_id.hex, result.id.upper(), f"{{{result.id}}}", job_id.urn):
            assert tasks.echo.get_result(spelling).id == result.id

    def test_another_tasks_result(self):
        result = tasks.echo.enqueue()
        for get in (tasks.fail.get_result, async_to_sync(tasks.fail.aget_result)):
            with pytest.raises(TaskResultMismatch, match="Task does not match"):
                get(result.id)

    def test_a_task_with_other_values_is_the_same_task(self):
        result = tasks.echo.using(priority=5).enqueue()
        assert tasks.echo.get_result(result.id).task == tasks.echo.using(priority=5)

    def test_refresh_of_a_job_whose_history_was_cleaned_up(self):
        result = tasks.echo.enqueue()
        run_all()
        JobHistory.objects.all().delete()
        with pytest.raises(TaskResultDoesNotExist):
            result.refresh()

    def test_a_queue_taken_out_of_the_settings_does_not_hide_results(self, settings):
        result = tasks.echo.using(queue_name="gone").enqueue()
        run_all()
        settings.TASKS = {"default": {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "QUEUES": ["here"]}}
        found = task_backends["default"].get_result(result.id)
        assert (found.status, found.task.queue_name) == (TaskResultStatus.SUCCESSFUL, "gone")

    def test_a_task_nobody_knows_any_more_still_has_its_result(self):
        result = tasks.echo.enqueue()
        run_all()
        JobHistory.objects.update(task="shop.tasks.long_gone")
        found = task_backends["default"].get_result(result.id)
        assert found.return_value == [[], {}]
        assert found.task.module_path == "shop.tasks.long_gone"
        assert found.task.name == "long_gone"
        found.refresh()
        with pytest.raises(LookupError, match="not registered in this process"):
            found.task.call()
        with pytest.raises(TaskResultMismatch):
            tasks.echo.get_result(result.id)

    @pytest.mark.parametrize(
        "garbage",
        [
            {"task": ""},
            {"task": "\x01 .. \x7f"},
            {"args": "not json"},
            {"args": '{"args": [' + "9" * 5000 + '], "kwargs": {}}'},
            {"result": "{" * 100_000},
            {"result": "9" * 5000},
            {"outcome": "lost"},
            {"started_at": None, "worker_id": None},
            {"error_class": "x" * 255, "priority": 30_000, "attempt": -5},
        ],
    )
    def test_rows_written_by_hand_are_shown_as_well_as_can_be(self, garbage):
        result = tasks.echo.enqueue()
        run_all()
        JobHistory.objects.update(**garbage)
        if garbage == {"outcome": "lost"}:
            with pytest.raises(TaskResultDoesNotExist):
                task_backends["default"].get_result(result.id)
        else:
            assert task_backends["default"].get_result(result.id).is_finished

    def test_dead_letters_written_by_hand(self):
        result = tasks.fail.enqueue()
        run_all()
        DeadLetterJob.objects.update(task="..", args="[", reason="whatever", queue="?", lease_no=-1)
        found = task_backends["default"].get_result(result.id)
        assert (found.status, found.args, found.kwargs) == (TaskResultStatus.FAILED, [], {})

    def test_refresh_changes_nothing_when_nothing_happened(self):
        result = tasks.echo.enqueue(1)
        result.refresh()
        before = dataclasses.asdict(result)
        async_to_sync(result.arefresh)()
        assert dataclasses.asdict(result) == before


class TestCopies:
    def test_deep_copies_are_equal(self):
        result = tasks.echo.enqueue()
        assert copy.deepcopy(result) == result

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="tasks can be pickled from Django 6.1 on")
    @pytest.mark.parametrize("task", [tasks.echo, tasks.named, tasks.echo.using(priority=3, unique_key="k")])
    def test_tasks_and_results_survive_pickling(self, task):
        assert pickle.loads(pickle.dumps(task)) == task
        result = task.enqueue(1)
        assert pickle.loads(pickle.dumps(result)) == result

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="tasks can be pickled from Django 6.1 on")
    def test_no_pickle_makes_a_task_of_what_is_none(self):
        for path in ("does.not.exist.fake_task", "builtins.any"):
            with pytest.raises(ValueError, match=f"Expected '{path}' to point to a Task instance"):
                type(tasks.echo)._reconstruct({"func": path})
