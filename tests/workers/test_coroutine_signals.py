"""What receivers and retry strategies are told of async jobs: in a thread, where they may ask the database."""

from __future__ import annotations

import functools
import logging
import threading
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group

from django_jobqueue import FixedDelays, task
from django_jobqueue.compat import task_finished, task_started
from django_jobqueue.jobs.retry import RetryStrategy
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.signals import job_dead, job_retrying
from tests.workers.coroutines import drain, push, reasons

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate", "unheard")]

told: list[tuple[str, int, str]] = []


class AsksTheDatabase(RetryStrategy):
    max_attempts = 3

    def should_retry(self, attempt, exception):
        told.append(("strategy", Group.objects.count(), threading.current_thread().name))
        return attempt < 2

    def delay(self, attempt, rng):
        return FixedDelays([0]).delay(1, rng)


@task(retry=AsksTheDatabase())
async def fail(name: str) -> None:
    raise ValueError(name)


SIGNALS = {"started": task_started, "finished": task_finished, "retrying": job_retrying, "dead": job_dead}


@contextmanager
def receivers(receive, *names):
    """Of what is told: `receive(name of the signal)`."""
    told.clear()
    connected = {name: functools.partial(lambda name, **_: receive(name), name) for name in names}
    for name, receiver in connected.items():
        SIGNALS[name].connect(receiver)
    try:
        yield
    finally:
        for name, receiver in connected.items():
            SIGNALS[name].disconnect(receiver)


@pytest.mark.parametrize(
    ("name", "times"), [("started", 3), ("finished", 2), ("retrying", 1), ("dead", 1), ("strategy", 2)]
)
def test_receivers_and_retry_strategies_may_ask_the_database(name, times):
    """Each where nobody else makes a job go to its thread."""
    queue = MemoryQueue()
    push(queue, "good")
    push(queue, "bad", task=fail, max_attempts=3)
    with receivers(
        lambda name: told.append((name, Group.objects.count(), threading.current_thread().name)),
        *{name} & SIGNALS.keys(),
    ):
        assert drain(queue, 1).completed == 1
    assert reasons(queue) == {"bad": "exhausted"}
    assert [who for who, *_ in told].count(name) == times
    assert {thread for *_, thread in told} == {"jobqueue-sync-1"}


@pytest.mark.parametrize("error", [ValueError("of a receiver"), SystemExit(3)], ids=["error", "exit"])
def test_a_receiver_that_raises_changes_nothing(error, monkeypatch):
    monkeypatch.setattr(logging.getLogger("django.dispatch"), "disabled", True)
    queue = MemoryQueue()
    push(queue, "good")
    push(queue, "bad", task=fail, max_attempts=3)

    def raise_it(name):
        told.append((name, 0, ""))
        raise error

    with receivers(raise_it, *SIGNALS):
        counters = drain(queue, 2)
    assert {name for name, *_ in told} == {"started", "finished", "strategy", "retrying", "dead"}
    assert counters.completed == 1
    assert reasons(queue) == {"bad": "exhausted"}
