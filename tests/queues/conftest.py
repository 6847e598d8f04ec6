"""Fixtures of the tests that look at a Redis connection from below."""

from __future__ import annotations

import os

import pytest

from django_jobqueue.queues.redis.connection import Connection
from tests.servers import DurableRedis


@pytest.fixture
def open_connection():
    opened = []

    def open_one(**options):
        if options.get("url") == "redis":
            options["url"] = os.environ["JOBQUEUE_TEST_REDIS_URL"]
        opened.append(Connection(options))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def server():
    with DurableRedis("everysec") as server:
        yield server


@pytest.fixture
def own(server, open_connection):
    """A connection to a server of this test alone."""
    return open_connection(url=f"{server.url}?socket_timeout=2")
