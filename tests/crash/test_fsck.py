"""`check` beside workers, producers and a killer: what moves is no fault, and after it all nothing is left."""

from __future__ import annotations

import os
import threading
import time

from django.db import connections

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.monitoring.fsck import check
from tests.crash import tasks
from tests.crash.fixtures import on_all
from tests.waiting import wait_until

SECONDS = float(os.environ.get("JOBQUEUE_FSCK_SECONDS", "5"))
PATIENCE = 1.0
"""Seconds. What moves may take as long on a machine that has other tests to run."""


class Producer(threading.Thread):
    """Pushes jobs of all kinds until it is told to stop, and cancels or hurries some."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage
        self.enough = threading.Event()
        self.pushed = 0
        self.error = None

    def run(self):
        try:
            while not self.enough.wait(0.02):
                self.once()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()

    def once(self):
        queue, n = self.stage.queue, self.pushed
        plain = [JobPayload.create(tasks.work, (f"w{n}-{i}",), priority=i % 3) for i in range(20)]
        later = [JobPayload.create(tasks.work, (f"l{n}-{i}",), delay=0.3) for i in range(5)]
        unique = [JobPayload.create(tasks.work, (f"u{n}",), unique_key=f"key {n % 7}")]
        again = JobPayload.create(tasks.flaky, (f"f{n}",), max_attempts=3)
        ids = queue.push(*plain, *later, *unique, again)
        queue.cancel(ids[0])
        queue.reprioritize(ids[1], 50)
        queue.run_now(ids[21])
        for job_id in ids[2:9]:
            queue.request_cancel(job_id)
        self.pushed += len(ids)


@on_all
def test_no_false_alarm_under_load(open_stage):
    stage = open_stage(lease=2.0)
    workers = [stage.worker(conf={"POLL_INTERVAL": 0.1}) for _ in range(2)]
    producer = Producer(stage)
    producer.start()
    looks, seen, until = 0, 0, time.monotonic() + SECONDS
    try:
        while looks <= 3 or time.monotonic() < until:
            report = check(stage.queue, patience=PATIENCE, late=5.0)
            assert report.is_clean, str(report)
            looks, seen = looks + 1, seen + report.looked_at.get("jobs", 0)
            if looks in (3, 10):
                workers[0].kill()
                workers = [workers[1], stage.worker(conf={"POLL_INTERVAL": 0.1})]
    finally:
        producer.enough.set()
        producer.join()
    assert producer.error is None
    assert producer.pushed > 100
    assert seen > 0
    print(f"{stage.alias}: {looks} looks at {seen} jobs, {producer.pushed} pushed meanwhile, no finding")
    wait_until(lambda: stage.live() == 0, "all jobs to end", 60)
    for worker in workers:
        worker.terminate()
        worker.wait()
    final = check(stage.queue, patience=0.2, late=0.0)
    assert final.is_clean, str(final)
    assert set(final.account.values()) == {0}
