"""Django's three signals and their log, and our two: sent once, at the right moment, by the right sender."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager

import pytest

from django_jobqueue.backends import DatabaseBackend
from django_jobqueue.compat import (
    HAS_CORE_TASKS,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from django_jobqueue.queues.orm.queue import OrmQueue
from django_jobqueue.signals import job_dead, job_retrying
from django_jobqueue.testing import run_all
from tests.api import tasks
from tests.api.backends import OwnBackend

pytestmark = pytest.mark.django_db

LOGGER = "django.tasks" if HAS_CORE_TASKS else "django_tasks"
SIGNALS = {
    "enqueued": task_enqueued,
    "started": task_started,
    "finished": task_finished,
    "retrying": job_retrying,
    "dead": job_dead,
}


@contextmanager
def received():
    """What is sent meanwhile, as (name, sender, arguments); a result's status is noted at that moment."""
    seen = []
    receivers = []
    for name, signal in SIGNALS.items():

        def receive(sender, signal, _name=name, **kwargs):
            status = kwargs["task_result"].status if "task_result" in kwargs else None
            seen.append((_name, sender, status, kwargs, sys.exc_info()[0]))

        signal.connect(receive)
        receivers.append((signal, receive))
    try:
        yield seen
    finally:
        for signal, receive in receivers:
            signal.disconnect(receive)


def names(seen):
    return [(name, status) for name, _, status, _, _ in seen]


def test_a_success():
    with received() as seen:
        result = tasks.echo.enqueue(1)
        run_all()
    assert names(seen) == [
        ("enqueued", TaskResultStatus.READY),
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.SUCCESSFUL),
    ]
    assert {sender for _, sender, *_ in seen} == {DatabaseBackend}
    assert {kwargs["task_result"].id for *_, kwargs, _ in seen} == {result.id}
    finished = seen[-1][3]["task_result"]
    assert finished.return_value == [[1], {}]
    assert finished.finished_at is not None
    assert [error for *_, error in seen] == [None] * 3


def test_a_failure_is_finished_inside_its_except_block():
    with received() as seen:
        tasks.fail.enqueue()
        run_all()
    assert names(seen)[1:] == [
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.FAILED),
        ("dead", None),
    ]
    _, _, _, kwargs, error = seen[2]
    assert error is ValueError
    assert kwargs["task_result"].errors[0].exception_class is ValueError
    _, sender, _, kwargs, _ = seen[3]
    assert sender is OrmQueue
    assert (kwargs["reason"], type(kwargs["exception"])) == ("exhausted", ValueError)


def test_a_retry_is_started_again_and_finished_once():
    with received() as seen:
        tasks.succeed_at.enqueue(2)
        run_all()
    assert [name for name, *_ in seen] == ["enqueued", "started", "retrying", "started", "finished"]
    assert seen[2][3]["delay"] == 0
    assert seen[2][3]["reservation"].attempt == 1
    assert seen[3][3]["task_result"].attempts == 2


def test_what_never_ran_is_neither_started_nor_finished():
    tasks.fail.enqueue(1, 2, 3, 4)
    with received() as seen:
        run_all()
    assert [name for name, *_ in seen] == ["dead"]


def test_each_of_many_is_enqueued():
    with received() as seen:
        results = tasks.echo.enqueue_many([[1], [2]])
    assert [kwargs["task_result"].id for *_, kwargs, _ in seen] == [result.id for result in results]


def test_a_job_that_was_there_already_is_not_enqueued_again():
    tasks.echo.using(unique_key="k").enqueue()
    with received() as seen:
        tasks.echo.using(unique_key="k").enqueue()
    assert seen == []


def test_the_sender_is_a_subclass_when_the_backend_is(settings):
    settings.TASKS = {"default": {"BACKEND": "tests.api.backends.OwnBackend"}}
    with received() as seen:
        tasks.echo.enqueue()
        run_all()
    assert {sender for _, sender, *_ in seen} == {OwnBackend}
    assert isinstance(task_backends["default"], DatabaseBackend)


def test_a_receiver_that_raises_changes_nothing_for_the_job(caplog):
    def broken(**kwargs):
        raise RuntimeError("receiver")

    for signal in (task_started, task_finished, job_dead):
        signal.connect(broken)
    try:
        good, bad = tasks.echo.enqueue(), tasks.fail.enqueue()
        run_all()
    finally:
        for signal in (task_started, task_finished, job_dead):
            signal.disconnect(broken)
    good.refresh()
    bad.refresh()
    assert (good.status, bad.status) == (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)
    assert bad.errors[0].exception_class is ValueError
    assert "RuntimeError: receiver" in caplog.text


class TestDjangosLog:
    def test_of_a_success(self, caplog):
        caplog.set_level(logging.DEBUG, LOGGER)
        result = tasks.echo.enqueue()
        run_all()
        enqueued, running, successful = [record for record in caplog.records if record.name == LOGGER]
        assert "enqueued backend=default" in enqueued.getMessage()
        assert running.getMessage().endswith("state=RUNNING")
        assert successful.getMessage().endswith("state=SUCCESSFUL")
        assert [one.levelno for one in (enqueued, running, successful)] == [logging.DEBUG, logging.INFO, logging.INFO]
        for record in (enqueued, running, successful):
            assert f"id={result.id} path=tests.api.tasks.echo" in record.getMessage()
            assert "NoneType" not in caplog.handler.format(record)

    def test_of_a_failure_has_its_traceback(self, caplog):
        caplog.set_level(logging.INFO, LOGGER)
        tasks.leave.enqueue()
        run_all()
        (error,) = [record for record in caplog.records if record.name == LOGGER and record.levelno == logging.ERROR]
        assert error.getMessage().endswith("state=FAILED")
        assert error.exc_info[0] is SystemExit
        assert "This task failed due to SystemExit" in caplog.handler.format(error)
