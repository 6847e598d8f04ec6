"""Whatever a job does, it ends in the history or in the dead letters with the right reason, the worker lives, and the
next job runs clean. The corpus of what jobs do is tests/api/hostile.py; what rows hold is below.
"""

from __future__ import annotations

import io
import logging
import sys
import time
import traceback
from contextlib import suppress

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DatabaseError, OperationalError

from django_jobqueue import JobPayload, NoRetry, get_queue, task
from django_jobqueue.compat import TaskResultStatus, task_backends, task_finished, task_started
from django_jobqueue.lifecycle import results
from django_jobqueue.lifecycle.errors import class_path
from django_jobqueue.models import DeadLetterJob, Job, JobHistory, JobLock
from django_jobqueue.queues.base import Move, WorkerIdentity
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.interruption import Interrupted
from tests.api import hostile, tasks
from tests.workers import jobs

EMPTY_CALL = '{"args":[],"kwargs":{}}'
GARBAGE = {
    "": "payload_invalid",
    "null": "payload_invalid",
    "[]": "payload_invalid",
    "not JSON at all": "payload_invalid",
    '{"args":[1]': "payload_invalid",
    '{"args":{},"kwargs":{}}': "payload_invalid",
    '{"args":[],"kwargs":[]}': "payload_invalid",
    '{"args":[],"kwargs":{},"more":1}': "payload_invalid",
    '{"args":[NaN],"kwargs":{}}': "payload_invalid",
    '{"args":["\\u0000"],"kwargs":{}}': "payload_invalid",
    '{"args":["\\ud800"],"kwargs":{}}': "payload_invalid",
    '{"args":[],"kwargs":{"a":1,"a":2}}': "payload_invalid",
    '{"args":[' + "9" * 5_000 + '],"kwargs":{}}': "payload_invalid",
    '{"args":[1e999],"kwargs":{}}': "payload_invalid",
    '{"args":[' + "[" * 100 + "]" * 100 + '],"kwargs":{}}': "payload_invalid",
    "[" * 100_000: "payload_invalid",
    '{"args":' * 5_000: "payload_invalid",
    '{"args":[1,2,3],"kwargs":{}}': "signature_mismatch",
    '{"args":[],"kwargs":{"self":1,"":2}}': "signature_mismatch",
    '{"args":[1],"kwargs":{"message":2}}': "signature_mismatch",
}


class Bench:
    """A worker's executor on a queue, one job at a time."""

    def __init__(self, alias: str = "default") -> None:
        self.queue = get_queue(alias)
        self.worker = WorkerIdentity(name="bench")
        self.queue.join(self.worker)
        self.executor = Executor(self.queue, self.worker.id)

    def run(self):
        """The settlement of the next job, stored."""
        job = self.queue.pop((), self.worker.id)
        settlement, escaped = None, ""
        try:
            settlement = self.executor.run(job, time.monotonic())
        except BaseException as error:  # pytest itself would choke on most of what jobs raise here
            escaped = class_path(type(error)) + "".join(traceback.format_tb(sys.exc_info()[2], limit=-5))
        assert not escaped
        assert self.queue.settle([settlement]) == [True]
        return settlement


def format_and_drop(record):
    """As any handler does, and as an error tracker, which lets what goes wrong come out."""
    logging.Formatter().format(record)
    return False


@pytest.fixture(autouse=True)
def logs_are_formatted_but_not_reported(monkeypatch):
    """What jobs raise goes through the log as it always does, but pytest-xdist can't send all of it home."""
    for name in ("django.tasks", "django_tasks", "django.dispatch"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [format_and_drop])


@pytest.fixture
def bench(db):
    return Bench()


def drain(alias="default"):
    """A real worker, until nothing is left."""
    call_command("queue_work", drain=True, backend=alias, stdout=io.StringIO())


def storable(letter):
    for text in (letter.error_class, letter.error_message, letter.traceback):
        assert text.isprintable() or text
        text.encode()
        assert "\x00" not in text
    assert len(letter.error_class) <= 255
    assert len(letter.error_message) <= 65_536 // 16
    assert len(letter.traceback) <= 65_536
    assert len(letter.fingerprint) == 16


@pytest.mark.parametrize("failing", [hostile.raise_it, hostile.raise_it_async])
@pytest.mark.parametrize("name", hostile.RAISES)
def test_whatever_a_job_raises_is_a_dead_letter(bench, failing, name):
    result = failing.enqueue(name)
    settlement = bench.run()
    assert (settlement.move, settlement.reason) == (Move.DEAD, "exhausted")
    letter = DeadLetterJob.objects.get()
    storable(letter)
    assert letter.error_class
    assert letter.traceback
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    tasks.give.enqueue("next")
    assert bench.run().move is Move.COMPLETED


def test_their_classes_and_messages_are_told(bench):
    expected = {
        "SystemExit": ("builtins.SystemExit", ""),
        "KeyboardInterrupt": ("builtins.KeyboardInterrupt", ""),
        "CancelledError": ("asyncio.exceptions.CancelledError", ""),
        "OwnBase": ("tests.api.hostile.OwnBase", ""),
        "endless_recursion": ("builtins.RecursionError", "maximum recursion depth exceeded"),
        "lone surrogates and NUL": ("builtins.ValueError", "\ufffd and \ufffd and \ufffd"),
        "str() that raises": ("tests.api.hostile.BadStr", "<str() of the exception raised RuntimeError>"),
        "str() that leaves": ("tests.api.hostile.LeavingStr", "<str() of the exception raised SystemExit>"),
        "str() that is evil text": ("tests.api.hostile.Evil", "evil"),
        "a class whose names leave": ("an exception class without a name", ""),
        "no module": ("None.NoModule", ""),
        "group_of_thousands": ("builtins.ExceptionGroup", "many (5000 sub-exceptions)"),
    }
    for name, (path, message) in expected.items():
        hostile.raise_it.enqueue(name)
        error = bench.run().error
        assert (error.class_path, error.message[: len(message)]) == (path, message), name


def test_a_message_of_10_mb_keeps_its_beginning_and_its_end(bench, monkeypatch):
    monkeypatch.setitem(hostile.RAISES, "a long one", hostile._simple(ValueError("begin" + "x" * 10_000_000 + "end")))
    hostile.raise_it.enqueue("a long one")
    message = bench.run().error.message
    assert message.startswith("beginxxx")
    assert message.endswith("xxxend")
    assert len(message) == 4_096


@pytest.mark.parametrize(
    "name", ["group_of_thousands", "groups_inside_each_other", "long_chain_of_causes", "10 MB of lines"]
)
def test_no_exception_takes_longer_than_a_heartbeat_to_describe(bench, name):
    hostile.raise_it.enqueue(name)
    started = time.thread_time()
    bench.run()
    assert time.thread_time() - started < 5


def test_the_same_failure_has_the_same_fingerprint_whatever_its_message(bench):
    for message in ("customer 1", "customer 2"):
        tasks.fail.enqueue(message)
    hostile.raise_it.enqueue("SystemExit")
    one, two, other = (bench.run().error.fingerprint for _ in range(3))
    assert one == two != other


@pytest.mark.parametrize("name", hostile.RETURNS)
def test_a_result_that_cant_be_stored_is_a_dead_letter_and_the_job_is_not_run_twice(bench, name):
    result = hostile.return_it.enqueue(name)
    settlement = bench.run()
    assert (settlement.move, settlement.reason) == (Move.DEAD, "result_invalid")
    letter = DeadLetterJob.objects.get()
    storable(letter)
    assert (letter.attempt, letter.max_attempts) == (1, 3)
    assert "what it returned can't be stored" in letter.error_message
    result.refresh()
    assert issubclass(result.errors[0].exception_class, TypeError)


def test_djangos_words_for_a_value_of_no_type_it_knows(bench):
    hostile.return_it.enqueue("an object")
    assert "Unsupported type" in bench.run().error.traceback


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: text[:40] or "empty")
def test_arguments_that_cant_be_read_are_dead_letters_and_nothing_ran(bench, text):
    Job.objects.filter(pk=tasks.fail.enqueue().id).update(args=text)
    settlement = bench.run()
    assert (settlement.move, settlement.reason) == (Move.DEAD, GARBAGE[text])
    letter = DeadLetterJob.objects.get()
    assert letter.args == text
    assert letter.attempt == 1
    storable(letter)
    assert task_backends["default"].get_result(str(letter.pk)).status == TaskResultStatus.FAILED


@pytest.mark.parametrize(
    "name", ["shop.tasks.gone", "os.system", "", "x" * 255, "\x01", "é\n<script>", "tests.api.tasks"]
)
def test_an_unknown_task_is_a_dead_letter(bench, name):
    Job.objects.filter(pk=tasks.fail.enqueue().id).update(task=name)
    assert bench.run().reason == "unknown_task"
    letter = DeadLetterJob.objects.get()
    assert (letter.task, letter.error_class) == (name, "django_jobqueue.exceptions.UnknownTask")
    assert "was it renamed or removed" in letter.error_message


def same(function):
    def wrapper(*args, **kwargs):
        return function(*args, "added", **kwargs)

    import functools

    functools.update_wrapper(wrapper, function)
    wrapper.__qualname__ = "decorated"
    return wrapper


@same
def decorated(number: int, added: str) -> list[object]:
    return [number, added]


def test_a_decorator_that_passes_other_arguments_on_is_no_mismatch(bench):
    result = task(decorated).enqueue(1)
    assert bench.run().move is Move.COMPLETED
    result.refresh()
    assert result.return_value == [1, "added"]


def evil_default(number: int, other: object = type("Evil", (), {"__repr__": hostile._leave})()) -> None: ...


def test_a_mismatch_is_told_without_printing_defaults(bench):
    task(evil_default).enqueue(1, 2, 3)
    assert bench.run().error.message.endswith("evil_default(number, other): too many positional arguments")


class TestInterruption:
    def test_of_the_worker_passes_through(self, bench, monkeypatch):
        monkeypatch.setitem(hostile.RAISES, "interrupted", hostile._simple(Interrupted))
        for failing in (hostile.raise_it, hostile.raise_it_async):
            failing.enqueue("interrupted")
            job = bench.queue.pop((), bench.worker.id)
            with pytest.raises(Interrupted):
                bench.executor.run(job, time.monotonic())

    def test_passes_through_when_cleaning_up_fails_of_it(self, bench, monkeypatch):
        """A job whose `finally` meets a connection that the interruption has broken must not pay an attempt for it."""

        def job():
            try:
                bench.executor.window.interrupt(Interrupted)
            finally:
                raise OperationalError("another command is in progress")

        monkeypatch.setitem(jobs.hooks, "cleans", job)
        jobs.record.enqueue("cleans")
        held = bench.queue.pop((), bench.worker.id)
        with pytest.raises(Interrupted):
            bench.executor.run(held, time.monotonic())

    def test_a_job_that_swallows_it_may_still_fail_by_itself(self, bench, monkeypatch):
        def job():
            with suppress(Interrupted):
                bench.executor.window.interrupt(Interrupted)
            raise ValueError

        monkeypatch.setitem(jobs.hooks, "swallows", job)
        jobs.record.enqueue("swallows")
        assert bench.run().move is Move.RETRY

    def test_a_store_that_does_not_answer_gives_the_job_back(self, bench, monkeypatch):
        """Seen when a job of a second attempt looked its first one up during an outage: the worker ended."""
        tasks.succeed_at.enqueue(2)
        bench.run()

        def outage(*args):
            raise OperationalError("server closed the connection")

        with monkeypatch.context() as patch:
            patch.setattr(results, "find", outage)
            assert bench.run().move is Move.RELEASED
        assert bench.run().move is Move.COMPLETED
        assert tasks.CALLS[-2:] == [1, 2]

    @pytest.mark.parametrize("raised", [RuntimeError, SystemExit, DatabaseError])
    def test_a_receiver_of_a_signal_is_none(self, bench, raised):
        def receiver(**kwargs):
            raise raised

        for signal in (task_started, task_finished):
            signal.connect(receiver)
        try:
            tasks.give.enqueue(1)
            assert bench.run().move is Move.COMPLETED
            tasks.fail.enqueue()
            assert bench.run().move is Move.DEAD
        finally:
            for signal in (task_started, task_finished):
                signal.disconnect(receiver)


def on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=["default", alias]), id=alias)


@pytest.mark.parametrize("alias", [on("default"), on("postgres"), on("mariadb")])
@pytest.mark.parametrize("then", ["", "SystemExit"], ids=["returns", "raises"])
@pytest.mark.parametrize("how", hostile.DEEDS)
def test_whatever_a_job_does_to_its_connection_the_next_runs_clean(alias, then, how, caplog):
    queue = get_queue(alias)
    queue.push(
        JobPayload.create(hostile.mistreat, [how, alias, then], max_attempts=1),
        JobPayload.create(hostile.is_clean, [alias]),
        JobPayload.create(hostile.is_clean, [alias]),
    )
    drain(alias)
    outcomes = list(JobHistory.objects.using(alias).order_by("id").values_list("task", "outcome", "lease_no"))
    assert outcomes == [
        ("tests.api.hostile.mistreat", "failed" if then else "completed", 1),
        ("tests.api.hostile.is_clean", "completed", 1),
        ("tests.api.hostile.is_clean", "completed", 1),
    ]
    assert not Group.objects.using(alias).filter(name__startswith="written").exists()
    assert not JobLock.objects.using(alias).filter(name="").exists()
    assert "refused" not in caplog.text
    assert "did not answer" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_one_worker_survives_the_whole_corpus():
    """Every exception, every result and every garbage row in one line, a job that must run clean after each."""
    for name in hostile.RAISES:
        hostile.raise_it.enqueue(name)
        hostile.is_clean.enqueue()
        hostile.raise_it_async.enqueue(name)
        hostile.is_clean.enqueue()
    for name in hostile.RETURNS:
        hostile.return_it.enqueue(name)
        hostile.is_clean.enqueue()
    for text in GARBAGE:
        Job.objects.filter(pk=tasks.fail.enqueue().id).update(args=text)
        hostile.is_clean.enqueue()
    drain()
    bad, good = (
        2 * len(hostile.RAISES) + len(hostile.RETURNS) + len(GARBAGE),
        2 * len(hostile.RAISES) + len(hostile.RETURNS) + len(GARBAGE),
    )
    assert DeadLetterJob.objects.count() == bad
    clean = JobHistory.objects.filter(task="tests.api.hostile.is_clean")
    assert clean.filter(outcome="completed", result='"clean"').count() == good == clean.count()
    assert not Job.objects.exists()
    assert not JobLock.objects.exists()
    assert not DeadLetterJob.objects.filter(reason="worker_lost").exists()


@pytest.mark.django_db(transaction=True)
def test_a_hostile_job_runs_as_often_as_it_may_and_no_more():
    task(name="hostile.twice")(hostile.raise_it.func).enqueue("SystemExit")
    task(retry=NoRetry(), name="hostile.once")(hostile.raise_it.func).enqueue("KeyboardInterrupt")
    drain()
    assert list(JobHistory.objects.order_by("id").values_list("task", "outcome")) == [
        ("hostile.twice", "retrying"),
        ("hostile.once", "failed"),
    ]
