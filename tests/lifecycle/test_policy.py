"""What is special to a queue: which jobs follow it, and what a worker makes of several."""

from __future__ import annotations

import time

import pytest

from django_jobqueue import ExponentialBackoff, FixedDelays, NoRetry, get_queue, task
from django_jobqueue.jobs.retry import RetryStrategy
from django_jobqueue.lifecycle.policy import (
    DEFAULT,
    QueuePolicy,
    queue_policy,
    retry_strategy,
    timeout_of,
    worker_policy,
)
from django_jobqueue.models import DeadLetterJob, Job
from django_jobqueue.workers.worker import Limits, Worker

QUEUES = {
    "calls": {"profile": "api"},
    "steps": {"profile": "pipeline", "timeout": 60, "memory_mb": 100},
    "one": {"prefetch": 1},
    "emails": {"timeout": 0.2, "retry": FixedDelays([0])},
}


@pytest.fixture(autouse=True)
def queues(settings):
    settings.JOBQUEUE = {"QUEUES": QUEUES}


@task(queue_name="emails")
def slow() -> None:
    time.sleep(20)


@task(queue_name="emails", timeout=0.1, retry=NoRetry())
def slow_with_its_own() -> None:
    time.sleep(20)


def test_a_queue_nothing_is_said_of():
    assert queue_policy("default") == QueuePolicy()


def test_an_entry_is_read_over_its_profile():
    steps = queue_policy("steps")
    assert (steps.timeout, steps.prefetch, steps.memory_mb, steps.concurrency) == (60, 1, 100, 1)
    assert isinstance(steps.retry, RetryStrategy)


@pytest.mark.parametrize("profile", ["api", "pipeline", "ml"])
def test_the_profiles_are_whole(settings, profile):
    settings.JOBQUEUE = {"QUEUES": {"x": {"profile": profile}}}
    found = queue_policy("x")
    assert found.timeout
    assert found.retry
    assert found.memory_mb
    assert found.concurrency


def test_a_changed_setting_is_seen_at_once(settings):
    assert queue_policy("emails").timeout == 0.2
    settings.JOBQUEUE = {"QUEUES": {"emails": {"timeout": 9}}}
    assert queue_policy("emails").timeout == 9


def test_what_is_said_for_a_job_wins_then_its_queue_then_the_project(settings):
    settings.JOBQUEUE = {"QUEUES": QUEUES, "TIMEOUT": 7, "RETRY": NoRetry()}
    assert [timeout_of(3, "emails"), timeout_of(None, "emails"), timeout_of(None, "default")] == [3, 0.2, 7]
    own = ExponentialBackoff(max_attempts=9)
    found = [retry_strategy(own, "emails"), retry_strategy(None, "emails"), retry_strategy(None, "default")]
    assert found == [own, FixedDelays([0]), NoRetry()]
    settings.JOBQUEUE = {}
    assert (timeout_of(None, "x"), retry_strategy(None, "x")) == (None, DEFAULT)


@pytest.mark.django_db(transaction=True)
def test_its_jobs_are_stopped_and_tried_again_as_it_says():
    slow.enqueue()
    assert Job.objects.get().max_attempts == 2
    slow_with_its_own.enqueue()
    for _ in range(2):
        Worker(get_queue(), limits=Limits(drain=True)).run()
    assert sorted(DeadLetterJob.objects.values_list("attempt", "reason")) == [(1, "expired"), (2, "expired")]


@pytest.mark.django_db
def test_a_task_that_is_sent_to_another_queue_follows_that_one():
    slow.using(queue_name="default").enqueue()
    assert Job.objects.get().max_attempts == DEFAULT.max_attempts


class TestAWorker:
    def test_of_all_queues_takes_no_more_at_once_than_the_strictest_allows(self):
        assert worker_policy(()) == QueuePolicy(prefetch=1)

    def test_of_one_queue_does_as_that_says(self):
        assert worker_policy(["calls"]) == QueuePolicy(concurrency=16, memory_mb=512)

    def test_of_several_runs_jobs_beside_each_other_only_when_all_of_them_allow_it(self):
        assert worker_policy(["calls", "steps"]) == QueuePolicy(prefetch=1, concurrency=1, memory_mb=512)
        assert worker_policy(["calls", "unknown"]) == QueuePolicy(concurrency=1)
