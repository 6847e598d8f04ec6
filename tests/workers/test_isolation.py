"""After any job the child is clean: put right, or another one. The corpus is tests/crash/jobs.py."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from django_jobqueue import JobPayload, get_queue
from django_jobqueue.workers import surroundings
from django_jobqueue.workers.surroundings import Surroundings
from django_jobqueue.workers.worker import Limits, Worker
from tests import proc
from tests.crash import jobs
from tests.crash.cases import ALL
from tests.crash.fixtures import MARIADB, POSTGRES, REDIS, SQLITE
from tests.crash.processes import finish, terminate
from tests.testapp.tasks import add
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
on_all = pytest.mark.parametrize("alias", [SQLITE, POSTGRES, MARIADB, REDIS])
on_two = on_all if ALL else pytest.mark.parametrize("alias", [SQLITE, POSTGRES])


def test_the_corpus_is_as_large_as_was_promised():
    assert len(jobs.MILD) + len(jobs.ROUGH) + len(jobs.SLOW) >= 40


@on_all
@pytest.mark.parametrize("options", [(), ("--threads", "1")], ids=["main", "threads"])
def test_the_next_job_runs_clean_after_each_that_can_be_put_right(open_stage, options):
    """One process, each kind of job once, and a look after each. In a thread, signal handlers can't be set."""
    stage = open_stage()
    kinds = [kind for kind in jobs.MILD if not options or not kind.startswith("SIG")]
    for kind in kinds:
        stage.push(jobs.misbehave, kind)
        stage.push(jobs.is_as_before, kind)
    code, _, err = finish(stage.worker("--drain", *options), 180)
    assert code == 0, err
    problems = [letter.error_message for letter in stage.dead().values() if letter.task.endswith("is_as_before")]
    assert problems == [], "\n".join(problems)
    assert stage.names("clean") == kinds
    assert len({line.pid for line in stage.lines()}) == 1, "none was bad enough for a new process"


@pytest.mark.parametrize("alias", [SQLITE])
def test_the_next_job_runs_clean_after_each_coroutine(open_stage):
    """They share a loop, and its thread."""
    stage = open_stage()
    kinds = [kind for kind in jobs.MILD if not kind.startswith("SIG")]
    for kind in kinds:
        stage.push(jobs.amisbehave, kind)
        stage.push(jobs.is_as_before, kind)
    code, _, err = finish(stage.worker("--drain", "--concurrency", "1"), 180)
    assert code == 0, err
    problems = [letter.error_message for letter in stage.dead().values() if letter.task.endswith("is_as_before")]
    assert problems == [], "\n".join(problems)
    assert stage.names("clean") == kinds


@on_two
def test_the_next_job_runs_clean_after_each_that_spoils_its_process(open_stage):
    """One at a time: what is fetched together with a killer is charged for it."""
    stage = open_stage(lease=2.0)
    for kind in jobs.ROUGH:
        stage.push(jobs.misbehave, kind, max_attempts=1, crash_budget=1)
        stage.push(jobs.is_as_before, kind)
    parent = stage.start("django", "queue_work", "--backend", stage.alias, "--processes", "1", conf={"PREFETCH_MAX": 1})
    wait_until(lambda: stage.live() == 0 or parent.poll() is not None, "all jobs have ended", 180)
    [twin] = stage.lines("forked")
    assert not proc.is_alive(twin.pid), "it must not work on beside its parent"
    assert [line.event for line in stage.lines() if line.pid == twin.pid] == ["forked"]
    code, _, err = terminate(parent)
    assert code == 0, err
    problems = [letter.error_message for letter in stage.dead().values() if letter.task.endswith("is_as_before")]
    assert problems == [], "\n".join(problems)
    assert sorted(stage.names("clean")) == sorted(jobs.ROUGH)


@on_two
def test_each_that_does_not_end_is_stopped_at_its_timeout(open_stage):
    stage = open_stage(lease=2.0)
    for kind in jobs.SLOW:
        stage.push(jobs.misbehave, kind, max_attempts=1, timeout=0.3)
        stage.push(jobs.is_as_before, kind)
    parent = stage.start("django", "queue_work", "--backend", stage.alias, "--processes", "1", conf={"KILL_AFTER": 0.5})
    wait_until(lambda: stage.live() == 0 or parent.poll() is not None, "all jobs have ended", 180)
    code, _, err = terminate(parent)
    assert code == 0, err
    reasons = {letter.reason for letter in stage.dead().values() if letter.task.endswith("misbehave")}
    assert reasons == {"expired"}
    assert sorted(stage.names("clean")) == sorted(jobs.SLOW)


@on_two
def test_sigterm_works_after_a_job_that_had_ignored_it(open_stage):
    stage = open_stage()
    stage.push(jobs.misbehave, "SIGTERM-ignored")
    worker = stage.worker()
    stage.wait_for("start", "SIGTERM-ignored")
    wait_until(lambda: stage.live() == 0)
    code, _, err = terminate(worker, signal.SIGTERM)
    assert code == 0, err


def test_a_variable_that_was_set_or_deleted_is_put_back_at_once(monkeypatch):
    """Not only when everything is looked at, once in a while."""
    monkeypatch.setattr(surroundings, "_RARE_SECONDS", 60.0)
    before = dict(os.environ)
    lent = Surroundings(pytest.fail)
    try:
        lent.restore("a look at everything")
        for change in (lambda: os.environ.update(LEFT_BEHIND="x"), lambda: os.environ.pop("PATH")):
            change()
            lent.restore("a job")
            assert dict(os.environ) == before
    finally:
        lent.end()


def _on(alias):
    return pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=["default", alias]), id=alias)


@pytest.mark.parametrize("alias", [_on("default"), _on("postgres"), _on("mariadb")])
def test_what_the_worker_itself_asks_closes_no_connection(alias):
    """Else it would connect again for every batch."""
    queue, opened = get_queue(alias), []

    def note(connection, **_):
        opened.append((threading.current_thread().name, connection.alias))

    queue.push(*(JobPayload.create(add, (n, n)) for n in range(300)))
    connections[alias].close()
    connection_created.connect(note)
    try:
        worker = Worker(queue, (), Limits(drain=True))
        worker.run()
    finally:
        connection_created.disconnect(note)
    assert worker.counters.completed == 300
    assert opened.count(("MainThread", alias)) == 1
