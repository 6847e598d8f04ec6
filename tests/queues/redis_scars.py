"""The store of the tests that only Redis can be asked, and what several of them need."""

from __future__ import annotations

import pytest
from django.db import OperationalError

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
