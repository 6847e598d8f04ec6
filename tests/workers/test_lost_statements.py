"""A session that forgets what was prepared in it, as behind a pooler that was not recognized, stops no worker."""

from __future__ import annotations

import pytest
from django.db import connections

from django_jobqueue.models import Job
from django_jobqueue.queues.orm import OrmQueue, preparing
from django_jobqueue.workers.worker import Limits, Worker
from tests.workers import jobs
from tests.workers.jobs import push

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])


@pytest.fixture
def queue(clean_slate, monkeypatch):
    monkeypatch.setattr(preparing, "_has_failed", False)
    queue = OrmQueue("postgres", database="postgres")
    yield queue
    queue.close()


def lose_all():
    """Behind the back of psycopg, and of who looks after the sessions of jobs."""
    connections["postgres"].connection.pgconn.exec_(b"DEALLOCATE ALL")


def test_p2_every_job_runs_once_when_what_was_prepared_is_lost(queue, settings, caplog):
    settings.JOBQUEUE = {**getattr(settings, "JOBQUEUE", {}), "PREFETCH_SECONDS": 1e-9}  # one at a time
    names = [f"{n:02}" for n in range(40)]
    jobs.hooks[names[20]] = lose_all
    push(queue, *names)
    Worker(queue, (), Limits(drain=True)).run()
    assert jobs.ran == names
    assert "lost prepared statements" in caplog.text
    assert not Job.objects.using("postgres").exists()
