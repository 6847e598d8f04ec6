"""Async jobs, and a worker that runs them on its loop, for the tests of coroutines."""

from __future__ import annotations

import asyncio
import functools
import threading
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, transaction

from django_jobqueue import NoRetry, task
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Limits, Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import LONG


@task(retry=NoRetry())
async def act(name: str) -> Any:
    """Says that it ran, then does what the test has put in `jobs.hooks` under its name."""
    jobs.ran.append(name)
    return await jobs.hooks[name]() if name in jobs.hooks else None


@task(retry=NoRetry(), timeout=0.05)
async def act_in_time(name: str) -> Any:
    jobs.ran.append(name)
    return await jobs.hooks[name]()


push = functools.partial(jobs.push, task=act)


def worker_of(queue, slots=4, **options):
    return Worker(queue, (), Limits(drain=True), slots=Slots(threads=slots, on_loop=True), **options)


def drain(queue, slots=4, **options):
    """Each job that has ended, as counted by a worker."""
    worker = worker_of(queue, slots, **options)
    worker.run()
    return worker.counters


@contextmanager
def at_work(queue, slots=4, **options):
    """A worker that runs beside the test, to the end of what there is."""
    worker = worker_of(queue, slots, **options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        thread.join(LONG)
    assert not thread.is_alive()


def run_until_completed(queue):
    """One job: again and again, until it has completed."""
    worker = Worker(queue, slots=Slots(threads=2, on_loop=True))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: worker.counters.completed)
    finally:
        worker.stop()
        thread.join(LONG)


def reasons(queue):
    return {letter.payload.args.split('"')[3]: letter.reason for letter in queue.dead_letters.values()}


def errors(queue):
    return {letter.payload.args.split('"')[3]: letter.error_class for letter in queue.dead_letters.values()}


class Party:
    """Coroutines that wait for each other: `guests` of them are at one place at once, or none goes on."""

    def __init__(self, guests: int) -> None:
        self._guests = guests
        self._came = 0

    async def __call__(self) -> None:
        self._came += 1
        turn = -(-self._came // self._guests) * self._guests
        while self._came < turn:
            await asyncio.sleep(0.001)


def where():
    """This thread and its connection: the object is kept, so that no other gets its id."""
    connection.ensure_connection()
    return threading.get_ident(), connection._connections[connection._alias], connection.connection


def leave_a_transaction():
    transaction.atomic().__enter__()
    Group.objects.create(name="never committed")
