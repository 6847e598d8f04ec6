"""The number that autoscalers of other people ask for."""

from __future__ import annotations

import json
from copy import copy

import pytest
from django.core.management import call_command

from django_jobqueue import JobPayload, get_queue
from django_jobqueue.models import JobHistory
from django_jobqueue.monitoring.scaling import desired_workers
from django_jobqueue.queues.base import Move
from tests.queues.hooks import claim, joined, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def queue():
    return get_queue()


def push(queue, count, name="default"):
    queue.push(*(JobPayload(task="shop.x", args='{"args":[],"kwargs":{}}', queue=name) for _ in range(count)))


def run_one(queue, run_ms, name="default"):
    push(queue, 1, name)
    (job,) = claim(queue, 1, joined(queue), [name])
    assert settle(queue, job, Move.COMPLETED, run_ms=run_ms)


def test_nothing_to_do(queue):
    assert desired_workers(queue) == 0
    run_one(queue, 500)
    assert desired_workers(queue) == 0


@pytest.mark.parametrize(
    ("ready", "run_ms", "target", "desired"),
    [(100, 1_000, 10, 10), (101, 1_000, 10, 11), (3, 60_000, 10, 3), (50, 1, 10, 1)],
)
def test_as_many_as_start_what_waits_within_the_target(queue, ready, run_ms, target, desired):
    run_one(queue, run_ms)
    push(queue, ready)
    assert desired_workers(queue, target=target) == desired


def test_those_that_run_are_counted(queue):
    run_one(queue, 1_000)
    push(queue, 12)
    claim(queue, 2, joined(queue))
    assert desired_workers(queue) == 2 + 1


def test_the_target_is_a_setting(queue, settings):
    run_one(queue, 1_000)
    push(queue, 100)
    settings.JOBQUEUE = {"AUTOSCALE_TARGET": 50}
    assert desired_workers(queue) == 2


def test_one_queue_goes_by_its_own_jobs(queue):
    run_one(queue, 10_000, "slow")
    run_one(queue, 10)
    push(queue, 20, "slow")
    push(queue, 20)
    assert desired_workers(queue, "slow") == 20
    assert desired_workers(queue, "default") == 1


def test_without_a_history_a_job_is_taken_to_last_a_second(queue):
    push(queue, 30)
    assert desired_workers(queue) == 3


def test_it_reads_a_bounded_number_of_rows(queue):
    run_one(queue, 5)
    row = JobHistory.objects.get()
    row.pk, row.store = None, "another"
    rows = [copy(row) for _ in range(1_500)]
    for n, one in enumerate(rows):
        one.lease_no = n + 10
    JobHistory.objects.bulk_create(rows)
    push(queue, 30)
    assert desired_workers(queue) == 3  # what is older than the last rows is not known any more


def test_queue_status_tells_it(queue, capsys):
    push(queue, 30)
    call_command("queue_status", "--json", "--backend", "default")
    (store,) = json.loads(capsys.readouterr().out)["stores"]
    assert store["desired_workers"] == 3
