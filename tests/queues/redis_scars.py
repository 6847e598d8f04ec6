"""The store of the tests that only Redis can be asked, and what several of them need."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from django.db import OperationalError

from django_jobqueue.workers.worker import Worker
from tests.queues.redis_store import open_queue


@pytest.fixture
def make_queue():
    made = []

    def make(**options):
        queue = open_queue("redis", **options)
        if not made:
            queue.connection.client.flushdb()
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.close()


@pytest.fixture
def queue(make_queue):
    return make_queue()


@pytest.fixture
def client(queue):
    return queue.connection.client


TABLES = "django_jobqueue.queues.redis.recorder.tables_of"
"""Where every way to the tables begins."""


def out_of_order(*_):
    raise OperationalError("the database is down")


@contextmanager
def at_work(queue):
    """A worker in a thread of its own. It is still able to end when the block is left."""
    worker = Worker(queue, ["default"])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(10)
    assert not thread.is_alive()
