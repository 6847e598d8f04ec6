"""The task API on the Redis store: the same as on the database, in the places where that does not go by itself."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from django_jobqueue import get_queue
from django_jobqueue.compat import TaskResultStatus
from django_jobqueue.models import JobHistory
from django_jobqueue.testing import run_all
from tests.testapp.tasks import add, fail

pytestmark = pytest.mark.redis


@pytest.fixture(autouse=True)
def _empty():
    get_queue("redis").connection.client.flushdb()


@pytest.mark.django_db(transaction=True)
def test_enqueue_run_and_read_the_result():
    result = add.using(backend="redis").enqueue(1, 2)
    assert result.status == TaskResultStatus.READY
    (ran,) = run_all("redis")
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    assert ran.id == result.id
    assert JobHistory.objects.get().store == "redis"


@pytest.mark.django_db(transaction=True)
def test_a_job_that_fails_for_good_is_a_failed_result():
    result = fail.using(backend="redis").enqueue("no such thing")
    run_all("redis")
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class_path == "builtins.ValueError"


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_enqueued_in_order():
    results = add.using(backend="redis").enqueue_many([[n, n] for n in range(50)])
    assert [one.id for one in run_all("redis")] == [one.id for one in results]


@pytest.mark.django_db
def test_run_all_works_inside_a_test_case():
    """A test's transaction is never committed, so what it pushes is in the outbox for good."""
    with transaction.atomic():
        Group.objects.create(name="shop")
        result = add.using(backend="redis").enqueue(2, 2)
    assert get_queue("redis").find(UUID(result.id)).reason == "outbox"
    assert [one.return_value for one in run_all("redis")] == [4]
    assert run_all("redis") == []


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_never_runs():
    with transaction.atomic():
        add.using(backend="redis").enqueue(2, 2)
        transaction.set_rollback(True)
    assert run_all("redis") == []
