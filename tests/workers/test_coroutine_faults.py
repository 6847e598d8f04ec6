"""Nothing that one async job raises, does to the loop or sets reaches the others, and no fault of ours costs a slot."""

from __future__ import annotations

import asyncio
import decimal
import threading
from contextvars import ContextVar

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.utils import timezone, translation

from django_jobqueue.compat import task_logger
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers.executor import Executor
from tests.workers import jobs
from tests.workers.coroutines import LONG, Party, drain, errors, push, reasons, where

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate", "unheard")]


# what they raise, and do to the loop


async def _leave_a_task_that_raises(error):
    async def fail():
        raise error

    asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0.005)


async def _raise(error):
    raise error


async def _await_a_task_that_raises(error):
    await asyncio.get_running_loop().create_task(_raise(error))


async def _raise_in_a_callback(error):
    def fail():
        raise error

    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0.005)


async def _stop(_):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.005)


FATAL = {"exit": SystemExit(3), "keyboard": KeyboardInterrupt(), "cancelled": asyncio.CancelledError()}


WAYS = {
    "itself": (_raise, True),
    "a task that it awaits": (_await_a_task_that_raises, True),
    "a task that it leaves": (_leave_a_task_that_raises, False),
    "a callback": (_raise_in_a_callback, False),
    "stop": (_stop, False),
}


@pytest.mark.parametrize("error", FATAL.values(), ids=FATAL)
@pytest.mark.parametrize(("way", "fails"), WAYS.values(), ids=WAYS)
def test_what_ends_a_loop_ends_one_job_at_most(way, fails, error):
    queue, party = MemoryQueue(), Party(3)

    async def spoil():
        await party()
        await way(error)

    async def beside():
        await party()
        await asyncio.sleep(0.02)

    jobs.hooks.update(a=spoil, b=beside, c=beside)
    push(queue, "a", "b", "c", "after")
    counters = drain(queue, 3)
    assert counters.completed == 4 - fails
    assert list(reasons(queue)) == ["a"] * fails
    if fails:
        assert errors(queue)["a"].endswith(type(error).__name__)


def test_a_task_that_a_job_leaves_behind_is_cancelled():
    queue, left = MemoryQueue(), []

    async def leave():
        left.append(asyncio.create_task(asyncio.sleep(LONG)))
        await asyncio.sleep(0)

    async def look():
        while not left[0].done():
            await asyncio.sleep(0.001)

    jobs.hooks.update(a=leave, b=look)
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 2
    assert left[0].cancelled()


# when something of ours fails


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_job_that_cannot_be_begun_costs_neither_its_slot_nor_the_others(monkeypatch, is_heard):
    queue, failures, watch = MemoryQueue(), [RuntimeError("can't start new thread")], Executor.watch

    def fail_once(executor, run):
        if failures:
            raise failures.pop()
        return watch(executor, run)

    monkeypatch.setattr(Executor, "watch", fail_once)
    monkeypatch.setattr(task_logger, "disabled", not is_heard)
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 1
    assert errors(queue) == {"a": "builtins.RuntimeError"}


def test_where_no_thread_can_be_started_every_job_ends_all_the_same(monkeypatch):
    queue, start = MemoryQueue(), threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("jobqueue-sync"):
            raise RuntimeError("can't start new thread")
        start(thread)

    async def ask():
        await sync_to_async(where)()

    monkeypatch.setattr(threading.Thread, "start", refuse)
    jobs.hooks.update(a=ask, b=ask)
    push(queue, "a", "b", "c")
    assert drain(queue, 2).completed == 1
    assert errors(queue) == {"a": "builtins.RuntimeError", "b": "builtins.RuntimeError"}


# what one job sees of another


colour: ContextVar[str] = ContextVar("colour", default="none")


def settings_of_context():
    return colour.get(), translation.get_language(), timezone.get_current_timezone_name(), decimal.getcontext().prec


def test_what_a_job_sets_in_its_context_ends_with_it():
    queue, seen = MemoryQueue(), []

    def change(spot):
        colour.set(spot)
        translation.activate("fr")
        timezone.activate("Asia/Tokyo")
        decimal.getcontext().prec = 5

    async def spoil():
        seen.append(settings_of_context())
        await sync_to_async(change)("red")
        change("green")
        seen.append(await sync_to_async(settings_of_context)())

    async def look():
        seen.append(settings_of_context())
        seen.append(await sync_to_async(settings_of_context)())

    jobs.hooks.update(a=spoil, b=look)
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 2
    before, within, *after = seen
    assert within == ("green", "fr", "Asia/Tokyo", 5)
    assert after == [before, before]


def test_two_jobs_at_once_have_caches_of_their_own_and_the_next_in_a_lane_has_the_same():
    queue, party, seen = MemoryQueue(), Party(2), []

    async def use():
        await party()
        seen.append((caches["default"], await sync_to_async(caches.__getitem__)("default")))

    jobs.hooks.update(dict.fromkeys("abcd", use))
    push(queue, *"abcd")
    assert drain(queue, 2).completed == 4
    assert all(here is in_thread for here, in_thread in seen)
    first, second = {id(cache) for cache, _ in seen[:2]}, {id(cache) for cache, _ in seen[2:]}
    assert len(first) == 2
    assert first == second
