from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.lifecycle.cleanup import prune_dead_letters, prune_history, prune_workers
from django_jobqueue.models import DeadLetterJob, JobHistory, JobLock, WorkerProcess
from tests.lifecycle.letters import write_history, write_letter

pytestmark = pytest.mark.django_db

WEEK = timedelta(days=7)


def ago(**span):
    return timezone.now() - timedelta(**span)


def test_old_history_goes_in_batches_and_the_rest_stays(django_assert_max_num_queries):
    for days in (8, 9, 10, 11, 12):
        write_history(finished_at=ago(days=days))
    young = write_history(finished_at=ago(days=6))

    with django_assert_max_num_queries(40):
        assert prune_history("default", WEEK, batch=2) == 5

    assert JobHistory.objects.get() == young
    assert prune_history("default", WEEK) == 0


def test_a_cutoff_before_all_time_deletes_nothing_and_a_negative_one_is_refused():
    write_history()
    assert prune_history("default", timedelta.max) == 0
    with pytest.raises(ValueError, match="negative"):
        prune_history("default", timedelta(seconds=-1))


def test_dead_letters_go_only_when_asked():
    old, young = write_letter(failed_at=ago(days=8)), write_letter()
    prune_history("default", timedelta(0))
    assert set(DeadLetterJob.objects.all()) == {old, young}
    assert prune_dead_letters("default", WEEK) == 1
    assert DeadLetterJob.objects.get() == young


def worker(**fields):
    old = ago(days=2)
    values = {"id": uuid7(), "name": "w", "host": "h", "pid": 1, "state": "stopped"}
    return WorkerProcess.objects.create(
        **{**values, "started_at": old, "heartbeat_at": old, "expires_at": old, **fields}
    )


def test_workers_that_are_gone_go_unless_they_hold_a_lease():
    worker()
    worker(state="dead")
    stays = {
        worker(state="running"),
        worker(state="stopping"),
        worker(heartbeat_at=ago(hours=1)),
        holder := worker(state="dead"),
    }
    JobLock.objects.create(id=uuid4(), worker_id=holder.id, claimed_at=timezone.now())

    assert prune_workers("default") == 2

    assert set(WorkerProcess.objects.all()) == stays
