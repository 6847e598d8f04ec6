"""The connection that a burst of calls keeps: who gets it, and when it goes back to the pool."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
import redis

from django_jobqueue.queues.redis import kept
from django_jobqueue.queues.redis.connection import Connection

pytestmark = pytest.mark.redis


@pytest.fixture
def connection() -> Connection:
    made = Connection({"url": os.environ["JOBQUEUE_TEST_REDIS_URL"]})
    yield made
    made.close()
    made.client.close()


def asks_of_the_pool(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    pool = connection.client.connection_pool
    asked, get = [], pool.get_connection

    def counted(*arguments: object) -> redis.Connection:
        asked.append(1)
        return get(*arguments)

    monkeypatch.setattr(pool, "get_connection", counted)
    return lambda: len(asked)


def in_use(connection: Connection) -> int:
    return len(connection.client.connection_pool._in_use_connections)


def test_a_burst_of_calls_asks_the_pool_once(connection, monkeypatch):
    asked = asks_of_the_pool(connection, monkeypatch)
    for _ in range(20):
        assert connection.call("PING")
    assert (asked(), in_use(connection)) == (1, 1)


def test_a_pool_of_few_connections_lends_none_for_good(monkeypatch):
    connection = Connection({"url": f"{os.environ['JOBQUEUE_TEST_REDIS_URL']}?max_connections=2"})
    for _ in range(3):
        assert connection.call("PING")
    assert in_use(connection) == 0


def test_one_that_was_idle_goes_through_the_pool_which_sees_whether_it_is_dead(connection, monkeypatch):
    connection.call("PING")
    mine = connection.call("CLIENT", "ID")
    monkeypatch.setattr(kept, "KEEP_SECONDS", 0)
    other = redis.Redis.from_url(os.environ["JOBQUEUE_TEST_REDIS_URL"])
    other.execute_command("CLIENT", "KILL", "ID", mine)
    other.close()
    retries = []
    monkeypatch.setattr("redis.retry.Retry.call_with_retry", lambda self, do, *a, **k: retries.append(1) or do())
    assert connection.call("CLIENT", "ID") != mine  # and no error, though nobody tries twice


def test_threads_that_share_a_pool_keep_one_between_them():
    """The backend is each thread's own, the pool of a cache is not: more threads than connections must find one."""
    pool = redis.ConnectionPool.from_url(os.environ["JOBQUEUE_TEST_REDIS_URL"], max_connections=kept.FEWEST)
    clients = [redis.Redis(connection_pool=pool) for _ in range(kept.FEWEST + 5)]
    held = [kept.kept_of(client) for client in clients]
    assert all(one.call("PING") for one in held)
    assert len(pool._in_use_connections) == 1
    del held, clients
    assert len(pool._in_use_connections) == 0
    pool.disconnect()


def test_one_whose_server_was_started_again_a_moment_ago_costs_no_call(connection, monkeypatch):
    connection.call("PING")
    mine = connection.call("CLIENT", "ID")
    other = redis.Redis.from_url(os.environ["JOBQUEUE_TEST_REDIS_URL"])
    other.execute_command("CLIENT", "KILL", "ID", mine)
    other.close()
    monkeypatch.setattr("redis.retry.Retry.call_with_retry", lambda self, do, *a, **k: do())  # as on a unix socket
    assert connection.call("CLIENT", "ID") != mine
    assert connection.call("PING")


def test_an_error_gives_it_back(connection):
    connection.call("PING")
    with pytest.raises(redis.ResponseError):
        connection.call("EVALSHA", "0" * 40, 0)
    assert in_use(connection) == 0
    assert connection.call("PING")


def test_one_that_an_exception_cut_off_is_not_read_by_the_next(connection, monkeypatch):
    """A signal between a question and its answer: the next caller must not take this answer for its own."""
    connection.call("SET", "{kept}:x", "an answer to somebody else")

    class Cut(BaseException):
        pass

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(redis.Redis, "parse_response", cut)
        with pytest.raises(Cut):
            connection.call("GET", "{kept}:x")
    assert connection.call("ECHO", "mine") == b"mine"
    connection.call("DEL", "{kept}:x")


def test_two_threads_never_share_it(connection):
    wrong: list[bytes] = []

    def ask(name: bytes) -> None:
        for n in range(300):
            question = b"%s %d" % (name, n)
            if connection.call("ECHO", question) != question:
                wrong.append(question)

    threads = [threading.Thread(target=ask, args=(b"t%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert in_use(connection) <= 1


def test_a_child_of_a_fork_has_one_of_its_own(connection):
    mine = connection.call("CLIENT", "ID")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(connection.call("CLIENT", "ID")).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) != mine
    assert connection.call("CLIENT", "ID") == mine
    os.close(reader)
    os.close(writer)


def test_dropping_the_idle_connections_drops_it_too(connection):
    before = connection.call("CLIENT", "ID")
    connection.drop()
    assert connection.call("CLIENT", "ID") != before
