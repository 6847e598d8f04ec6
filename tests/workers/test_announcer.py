"""What is told of a job, and that it is described only to those who hear."""

from __future__ import annotations

import logging

import pytest

from django_jobqueue import FixedDelays, get_queue, task
from django_jobqueue.compat import TaskResultStatus, task_finished, task_logger, task_started
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.models import JobHistory
from django_jobqueue.queues.base import WorkerIdentity
from django_jobqueue.testing import run_all
from django_jobqueue.workers.announcer import Announcer, Execution
from tests.api import tasks

STATUS = {task_started: TaskResultStatus.RUNNING, task_finished: TaskResultStatus.SUCCESSFUL}


@pytest.fixture
def run(db, monkeypatch):
    """A job that is about to run, and Django's log switched off."""
    monkeypatch.setattr(task_logger, "disabled", True)
    queue, worker = get_queue(), WorkerIdentity(name="announcer")
    queue.join(worker)
    tasks.give.enqueue(7)
    job = queue.pop((), worker.id)
    return Execution(lookup(job.task), job, [7], {}, worker.id)


def heard(signal, run):
    """What a receiver of one of the signals is told of a job that succeeds."""
    told = []

    def receiver(task_result, **_):
        told.append(task_result.status)

    signal.connect(receiver)
    try:
        announcer = Announcer(get_queue())
        announcer.start(run)
        announcer.succeed(run, "7", 5)
    finally:
        signal.disconnect(receiver)
    return told


@pytest.mark.parametrize("signal", STATUS)
def test_who_hears_of_one_signal_alone_is_told_the_whole_job(signal, run):
    assert heard(signal, run) == [STATUS[signal]]
    assert (run.result.id, run.result.args) == (str(run.job.job_id), [7])
    assert run.result.worker_ids == [str(run.worker)]
    assert run.result.started_at == run.job.claimed_at
    assert run.result.return_value == 7


def test_nobody_hears_so_nothing_is_described(run):
    announcer = Announcer(get_queue())
    announcer.start(run)
    announcer.succeed(run, "7", 5)
    assert run.result is None


def test_djangos_own_log_hears_when_it_has_a_handler(run, monkeypatch, caplog):
    monkeypatch.setattr(task_logger, "disabled", False)
    with caplog.at_level(logging.INFO, task_logger.name):
        announcer = Announcer(get_queue())
        announcer.start(run)
        announcer.succeed(run, "7", 5)
    states = [record.getMessage().rpartition("=")[2] for record in caplog.records if record.name == task_logger.name]
    assert states == ["RUNNING", "SUCCESSFUL"]


def test_a_job_that_asks_for_its_context_is_described(run):
    run.definition = lookup(tasks.own_id.module_path)
    Announcer(get_queue()).start(run)
    assert run.result.status == TaskResultStatus.RUNNING


@task(atomic=True, retry=FixedDelays([0]))
def fail_once():
    if JobHistory.objects.count() == 0:
        raise ConnectionError("once")


@pytest.mark.django_db(transaction=True)
def test_who_hears_of_ends_alone_is_told_the_past_of_an_atomic_job(monkeypatch):
    """It is looked up before the job runs: when that has completed, the store says that it is over."""
    monkeypatch.setattr(task_logger, "disabled", True)
    told = []

    def receiver(task_result, **_):
        told.append(([one.exception_class_path for one in task_result.errors], task_result.attempts))

    task_finished.connect(receiver)
    try:
        fail_once.enqueue()
        run_all()
    finally:
        task_finished.disconnect(receiver)
    assert told == [(["builtins.ConnectionError"], 2)]
