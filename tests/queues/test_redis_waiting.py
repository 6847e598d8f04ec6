"""How an idle worker waits for Redis: one subscription, and what happens to it."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connections

from django_jobqueue.queues.bell import Bell
from django_jobqueue.queues.redis import waiting
from django_jobqueue.queues.redis.waiting import Waiter
from tests.queues.hooks import HOUR, job, wait_for
from tests.queues.redis_store import open_queue

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def queue():
    queue = open_queue("redis")
    queue.connection.client.flushdb()
    queue.wait(["default"], 0)
    yield queue
    queue.close()


def subscriptions(queue):
    """Of this test's database: the tests beside this one have theirs on the same server."""
    client = queue.connection.client
    mine = str(client.connection_pool.connection_kwargs.get("db", 0))
    return [one for one in client.client_list() if int(one["sub"]) > 0 and one["db"] == mine]


def wakes_within(queue, seconds, action, queues=("default",)):
    begun = time.monotonic()
    thread = threading.Timer(0.1, action)
    thread.start()
    woken = queue.wait(list(queues), seconds)
    thread.join()
    return woken and time.monotonic() - begun < seconds


def push(queue, *payloads):
    def action():
        queue.push(*payloads)
        connections.close_all()

    return action


def test_one_subscription_however_often_and_from_how_many_threads(queue):
    threads = [threading.Thread(target=queue.wait, args=(["default"], 0.2)) for _ in range(5)]
    for thread in threads:
        thread.start()
    seen = len(subscriptions(queue))
    for thread in threads:
        thread.join()
    queue.wait(["default"], 0)
    assert (seen, len(subscriptions(queue))) == (1, 1)
    queue.close()
    assert wait_for(lambda: not subscriptions(queue))


def test_a_push_to_another_queue_wakes_nobody(queue):
    assert not queue.wait(["default"], 0.05)
    assert not wakes_within(queue, 0.4, push(queue, job(queue="other")))
    assert wakes_within(queue, 3, push(queue, job(queue="third")), queues=())


def test_only_the_first_of_many_pushes_says_a_word(queue):
    heard = queue.connection.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(queue._scripts.channel)
    heard.get_message(timeout=1)
    queue.push(job())
    queue.push(job())
    queue.push(job(priority=50))
    words = [heard.get_message(timeout=0.2) for _ in range(3)]
    heard.close()
    assert [word and word["data"] for word in words] == [b"default", None, None]


def test_a_job_that_is_due_sooner_than_all_others_is_heard_of(queue):
    queue.push(job(delay=HOUR))
    assert queue.wait(["default"], 1), "it was the first"
    begun = time.monotonic()
    assert wakes_within(queue, 5, push(queue, job(delay=0.2)))
    assert queue.wait(["default"], 5)
    assert 0.2 < time.monotonic() - begun < 4


def test_a_subscription_that_was_cut_off_is_made_again(queue):
    for one in subscriptions(queue):
        queue.connection.client.client_kill_filter(_id=one["id"])
    assert queue.wait(["default"], 3), "what was said meanwhile nobody heard: look"
    queue._waiter._retry_at = 0
    queue.wait(["default"], 0.05)
    assert len(subscriptions(queue)) == 1
    assert wakes_within(queue, 3, push(queue, job()))


class HalfOpen:
    """A connection whose other end is gone without a word."""

    opened = 0

    def listener(self):
        type(self).opened += 1
        return self

    def subscribe(self, channel): ...

    def ping(self): ...

    connection = None

    def close(self): ...

    def get_message(self, timeout):
        time.sleep(min(timeout, 0.01))


def test_a_half_open_subscription_is_found_out(monkeypatch):
    monkeypatch.setattr(waiting, "PING_SECONDS", 0.1)
    waiter = Waiter(HalfOpen(), "channel", Bell())
    assert waiter.wait([], 1), "it listens from here on"
    begun = time.monotonic()
    assert waiter.wait([], 5)
    assert 0.15 < time.monotonic() - begun < 3
    monkeypatch.setattr(waiter, "_retry_at", 0)
    waiter.wait([], 0.01)
    assert HalfOpen.opened == 2


def test_silence_is_no_fault_when_the_server_answers(queue, monkeypatch):
    monkeypatch.setattr(waiting, "PING_SECONDS", 0.3)
    before = subscriptions(queue)[0]["id"]
    assert not queue.wait(["default"], 1.5)
    assert subscriptions(queue)[0]["id"] == before
