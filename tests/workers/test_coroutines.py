"""Async jobs as tasks of one loop: where they run, and what they are called with and give."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import Counter
from typing import Any

import pytest
from django.db import OperationalError

from django_jobqueue import FixedDelays, get_queue, task
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import TaskDefinition, lookup, register
from django_jobqueue.lifecycle import results
from django_jobqueue.queues.memory import MemoryQueue
from tests.workers import jobs
from tests.workers.coroutines import LONG, Party, act, drain, push, reasons, run_until_completed
from tests.workers.jobs import record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate", "unheard")]


# where they run


def names_of_threads():
    return Counter(thread.name.rpartition("-")[0] for thread in threading.enumerate() if "jobqueue-" in thread.name)


def test_coroutines_run_at_once_on_one_loop_and_take_no_thread_each(settings):
    settings.JOBQUEUE = {"PREFETCH_SECONDS": LONG}  # none is given back meanwhile: what has a past goes to a thread
    queue, party, here = MemoryQueue(), Party(200), []

    async def meet():
        await party()
        here.append((threading.get_ident(), id(asyncio.get_running_loop()), names_of_threads()))

    names = [str(n) for n in range(200)]
    jobs.hooks.update(dict.fromkeys(names, meet))
    push(queue, *names)
    assert drain(queue, 200).completed == 200
    assert len({(thread, loop) for thread, loop, _ in here}) == 1
    assert not here[0][2]["jobqueue-job"]
    assert not here[0][2]["jobqueue-sync"]


def test_sync_and_async_jobs_share_the_slots():
    queue, lock, inside, most = MemoryQueue(), threading.Lock(), [0], [0]

    def come(step):
        with lock:
            inside[0] += step
            most[0] = max(most[0], inside[0])

    def sync():
        come(1)
        time.sleep(0.001)
        come(-1)

    async def on_loop():
        come(1)
        await asyncio.sleep(0.001)
        come(-1)

    for n in range(100):
        jobs.hooks[f"sync{n}"], jobs.hooks[f"async{n}"] = sync, on_loop
        push(queue, f"sync{n}", task=record)
        push(queue, f"async{n}")
    assert drain(queue, 3).completed == 200
    assert len(set(jobs.ran)) == len(jobs.ran) == 200
    assert most[0] <= 3


# what they are called with, and give


@task(retry=FixedDelays([0]), takes_context=True)
async def act_twice(context, name: str) -> Any:
    jobs.ran.append(name)
    return await jobs.hooks[name](context)


async def fail_once(context):
    if context.attempt == 1:
        raise ConnectionError("once")


def test_the_second_attempt_is_told_of_the_first():
    queue, seen = get_queue(), []

    async def look(context):
        seen.append((context.attempt, [error.exception_class_path for error in context.task_result.errors]))
        await fail_once(context)

    jobs.hooks["a"] = look
    push(queue, "a", task=act_twice, max_attempts=2)
    run_until_completed(queue)
    assert seen == [(1, []), (2, ["builtins.ConnectionError"])]


def test_a_job_whose_past_cannot_be_asked_is_given_back(monkeypatch):
    queue, failures, asked = get_queue(), [OperationalError("not now")], []
    running_result = results.running_result

    def ask(queue, task, job, *arguments):
        asked.append(job.attempt)
        if job.attempt > 1 and failures:
            raise failures.pop()
        return running_result(queue, task, job, *arguments)

    monkeypatch.setattr(results, "running_result", ask)
    jobs.hooks["a"] = fail_once
    push(queue, "a", task=act_twice, max_attempts=2)
    run_until_completed(queue)
    assert asked[-2:] == [2, 2]
    assert jobs.ran == ["a", "a"]


def test_one_that_cannot_be_called_and_one_whose_result_cannot_be_stored():
    queue = MemoryQueue()

    async def give_an_object():
        return object()

    jobs.hooks["object"] = give_an_object
    push(queue, "object")
    queue.push(JobPayload.create(act, ("too", "many")), JobPayload.create(act, ("next",)))
    assert drain(queue, 1).completed == 1
    assert reasons(queue) == {"object": "result_invalid", "too": "signature_mismatch"}


def future(name: str) -> asyncio.Future[str]:
    """As a function that is marked as a coroutine function, and gives an awaitable that is none."""
    given: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    given.get_loop().call_later(0.001, given.set_result, name)
    return given


async def two(one: str, other: str) -> str:
    await asyncio.sleep(0)
    return one + other


def traced(func):
    @functools.wraps(func)
    async def wrapper(*args):
        return "traced " + await func("t", *args)

    return wrapper


@pytest.mark.parametrize(
    ("func", "result"),
    [(future, '"x"'), (functools.partial(two, "p"), '"px"'), (traced(two), '"traced tx"')],
    ids=["future", "partial", "decorated"],
)
def test_whatever_gives_an_awaitable_is_awaited(func, result, monkeypatch):
    queue, known = MemoryQueue(), lookup(act.module_path)
    definition = TaskDefinition(known.name, func, known.task)
    if func is future:  # `inspect.markcoroutinefunction` is not there before Python 3.12
        definition.__dict__["is_async"] = True
    register(definition)
    try:
        push(queue, "x")
        assert drain(queue).completed == 1
    finally:
        register(known)
    assert queue.history[-1].result == result
