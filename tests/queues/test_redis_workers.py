"""How the Redis store knows its workers: in the table from beginning to end, and without it."""

from __future__ import annotations

import threading

import pytest

from django_jobqueue.models import WorkerProcess
from django_jobqueue.queues.base import WorkerIdentity, WorkerReport
from django_jobqueue.workers.worker import Worker
from tests.queues.hooks import claim_one, job, joined, wait_for
from tests.queues.redis_scars import client, make_queue, out_of_order, queue

__all__ = ["client", "make_queue", "queue"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


def test_a_worker_is_seen_in_the_table_from_beginning_to_end(queue, client):
    me = WorkerIdentity(name="w", queues=("a",))
    queue.join(me)
    queue.report(me.id, WorkerReport(completed=3))
    row = WorkerProcess.objects.get()
    assert (row.store, row.name, row.queues) == ("redis", "w", "a")
    queue.report(me.id, WorkerReport(completed=4))
    assert WorkerProcess.objects.get().completed == 4
    queue.leave(me.id)
    assert WorkerProcess.objects.get().state == WorkerProcess.State.STOPPED


def test_a_worker_whose_database_is_down_works_all_the_same(queue, monkeypatch):
    monkeypatch.setattr(queue._register, "_create", out_of_order)
    worker = joined(queue)
    queue.push(job())
    assert claim_one(queue, worker) is not None
    queue.report(worker, WorkerReport())
    monkeypatch.undo()
    queue.report(worker, WorkerReport())
    assert WorkerProcess.objects.get().id == worker


def test_p2_a_heartbeat_does_not_wait_for_the_database(queue, monkeypatch):
    """What operators see of a worker may hang on a locked row; its lease must not."""
    worker, seen = Worker(queue, ["default"]), []

    def hang(*_):
        seen.append("report")
        released.wait(10)

    released = threading.Event()
    monkeypatch.setattr(queue, "lease", 1.0)
    monkeypatch.setattr(queue._register, "report", hang)
    beats = []
    beat = queue.heartbeat
    monkeypatch.setattr(queue, "heartbeat", lambda *rest: beats.append(1) or beat(*rest))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert wait_for(lambda: len(beats) > 3)
        assert seen == ["report"]
    finally:
        worker.stop()
        released.set()
        thread.join(10)
    assert not thread.is_alive()


def test_a_word_said_while_a_worker_was_busy_does_not_wake_it_again(queue):
    queue.wait(["default"], 0)
    heard = queue._scripts.channel
    for _ in range(500):
        queue.connection.client.publish(heard, "default")
    assert queue.wait(["default"], 1)
    assert not queue.wait(["default"], 0.05)


def test_the_last_report_of_a_worker_that_has_left_does_not_show_it_again(queue):
    """A zombie begins anew while a thread of its still speaks for what it was."""
    early, late = joined(queue), joined(queue)
    queue.report(early, WorkerReport())
    queue.declare_dead(early)
    queue.report(early, WorkerReport(completed=1))
    assert WorkerProcess.objects.get(id=early).state == "running", "it does not know yet"
    for worker in (early, late):
        queue.leave(worker)
        queue.report(worker, WorkerReport(completed=2))
    assert set(WorkerProcess.objects.values_list("state", flat=True)) == {"stopped"}
