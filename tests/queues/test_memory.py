from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from django_jobqueue.queues.memory import MemoryQueue
from tests.queues.contract import QueueContract
from tests.queues.hooks import HOUR, LONG_AGO, claim, ids, job, joined, push_and_claim


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def queue(self):
        return MemoryQueue()

    def make_due(self, queue, job_id, due_at=LONG_AGO):
        queue.jobs[job_id].due_at = due_at

    def expire_worker(self, queue, worker):
        queue.workers[worker].expires_at = LONG_AGO

    def history(self, queue, job_id):
        return sorted(one for one in queue.history if one.job_id == job_id)

    def dead_letter(self, queue, job_id):
        dead = queue.dead_letters.get(job_id)
        return dead and SimpleNamespace(**{**asdict(dead.payload), **dead._asdict()})

    def drop_dead_letter(self, queue, job_id):
        del queue.dead_letters[job_id]


def test_its_clock_can_be_moved_by_a_test():
    now = datetime(2030, 1, 1, tzinfo=UTC)
    queue = MemoryQueue(lease=30, clock=lambda: now)
    worker = joined(queue)
    mine = push_and_claim(queue, worker)
    later = job(delay=HOUR)
    queue.push(later)
    now += timedelta(seconds=31)
    assert queue.reclaim() == 1
    now += timedelta(seconds=HOUR)
    assert ids(claim(queue, 5)) == [mine.job_id, later.id]
