"""With USE_TZ off, Django's tasks carry local times without a zone, in and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from django_jobqueue import JobPayload, get_queue
from django_jobqueue.compat import TaskResultStatus
from django_jobqueue.exceptions import InvalidPayload
from django_jobqueue.testing import run_all
from tests.api import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True, params=["UTC", "Asia/Tokyo"])
def no_zones(settings, request):
    settings.TIME_ZONE = request.param
    settings.USE_TZ = False


def is_local(moment):
    return moment.tzinfo is None and abs(moment - timezone.now()) < timedelta(minutes=1)


def test_a_job_from_end_to_end():
    result = tasks.succeed_at.enqueue(2)
    assert is_local(result.enqueued_at)
    (_, ran) = run_all()
    result.refresh()
    for seen in (ran, result):
        assert seen.status == TaskResultStatus.SUCCESSFUL
        assert all(
            is_local(one) for one in (seen.enqueued_at, seen.started_at, seen.last_attempted_at, seen.finished_at)
        )
        assert seen.enqueued_at <= seen.started_at <= seen.last_attempted_at <= seen.finished_at


def test_a_failure_and_a_job_that_waits():
    dead, waits = tasks.fail.enqueue(), tasks.fail_later.enqueue()
    run_all()
    for result in (dead, waits):
        result.refresh()
    assert is_local(dead.finished_at)
    assert is_local(waits.started_at)
    assert is_local(waits.enqueued_at)


@pytest.mark.parametrize("hours", [-1, 1])
def test_naive_run_after_is_local_time(hours):
    result = tasks.echo.using(run_after=timezone.now() + timedelta(hours=hours)).enqueue()
    assert [one.id for one in run_all()] == ([result.id] if hours < 0 else [])


@pytest.mark.parametrize("hours", [-1, 1])
def test_spans_and_aware_moments_too(hours):
    tasks.echo.using(run_after=timedelta(hours=hours)).enqueue()
    tasks.echo.using(run_after=datetime.now(UTC) + timedelta(hours=hours)).enqueue()
    get_queue().push(JobPayload.create(tasks.echo, run_after=datetime.now(UTC) + timedelta(hours=hours)))
    assert len(run_all()) == (3 if hours < 0 else 0)


def test_a_payload_always_wants_a_zone():
    with pytest.raises(InvalidPayload, match="aware"):
        JobPayload.create(tasks.echo, run_after=timezone.now())


def test_a_cancelled_job_and_one_put_off():
    cancelled, put_off = tasks.echo.enqueue(), tasks.snooze.enqueue(3600)
    assert get_queue().cancel(UUID(cancelled.id))
    run_all()
    for result in (cancelled, put_off):
        result.refresh()
    assert is_local(cancelled.finished_at)
    assert is_local(cancelled.enqueued_at)
    assert is_local(put_off.started_at)
