"""What an async job runs in a thread: its own one, whose connections the next job of the lane finds clean."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connection

from django_jobqueue.queues.memory import MemoryQueue
from tests.workers import jobs
from tests.workers.coroutines import LONG, drain, leave_a_transaction, push, where
from tests.workers.jobs import record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_slate", "unheard")]


def test_the_sync_parts_of_a_job_have_one_thread_and_its_connections_and_those_of_two_jobs_run_at_once():
    queue, barrier, seen = MemoryQueue(), threading.Barrier(2), {}

    def sync_part():
        barrier.wait(LONG)
        return where()

    async def ask(name):
        seen[name] = [await sync_to_async(sync_part)() for _ in range(3)], threading.get_ident()

    jobs.hooks.update(a=lambda: ask("a"), b=lambda: ask("b"))
    push(queue, "a", "b")
    assert drain(queue, 2).completed == 2
    (a, loop), (b, _) = seen["a"], seen["b"]
    assert len(set(a)) == len(set(b)) == 1
    assert not {thread for thread, *_ in a} & {thread for thread, *_ in b}
    assert {a[0][1:]}.isdisjoint({b[0][1:]})
    assert loop not in {a[0][0], b[0][0]}


def change_the_session():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE left_behind (id int)")


@pytest.mark.parametrize("leave", [leave_a_transaction, change_the_session])
def test_what_a_sync_part_leaves_in_its_connection_is_gone_before_the_next_job_of_its_lane(leave):
    queue, seen = MemoryQueue(), []

    def look():
        seen.append((threading.get_ident(), connection.connection, connection.in_atomic_block, Group.objects.count()))

    async def spoil():
        await sync_to_async(look)()
        await sync_to_async(leave)()

    jobs.hooks.update(a=spoil, b=sync_to_async(look))
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 2
    (thread, *_), (same_thread, raw, in_atomic_block, groups) = seen
    assert (same_thread, raw, in_atomic_block, groups) == (thread, None, False, 0)


def test_what_a_job_leaves_in_a_thread_of_the_pool_is_gone_before_the_next_call_there():
    queue, seen = MemoryQueue(), []

    def look():
        seen.append((threading.get_ident(), connection.in_atomic_block, Group.objects.count()))
        connection.close()

    async def spoil():
        await asyncio.to_thread(leave_a_transaction)

    jobs.hooks.update(a=spoil, b=functools.partial(asyncio.to_thread, look))
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 2
    ((thread, *rest),) = seen
    assert rest == [False, 0]
    assert thread != threading.get_ident()


def test_a_healthy_connection_stays_open_for_the_next_job_of_its_lane():
    queue, seen = MemoryQueue(), []

    async def count():
        await Group.objects.acount()
        seen.append(await sync_to_async(where)())

    jobs.hooks.update(a=count, b=count)
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 2
    assert seen[0] == seen[1]


def test_sync_within_async_within_sync():
    queue, seen = MemoryQueue(), []

    def innermost():
        seen.append(("innermost", where()))

    async def within():
        seen.append(("within", id(asyncio.get_running_loop())))
        await sync_to_async(innermost)()
        await Group.objects.acount()

    def outer():
        seen.append(("outer", where()))
        async_to_sync(within)()

    async def nest():
        seen.append(("job", id(asyncio.get_running_loop())))
        await sync_to_async(outer)()

    jobs.hooks["a"] = nest
    push(queue, "a")
    assert drain(queue).completed == 1
    seen = dict(seen)
    assert seen["within"] == seen["job"]
    assert seen["innermost"] == seen["outer"]


def test_a_plain_function_runs_its_coroutines_on_the_loop_of_the_async_jobs_and_has_one_thread():
    queue, seen = MemoryQueue(), []

    async def within():
        seen.append(id(asyncio.get_running_loop()))
        seen.append(await sync_to_async(threading.get_ident)())

    def plain():
        seen.append(threading.get_ident())
        async_to_sync(within)()

    async def on_loop():
        seen.append(id(asyncio.get_running_loop()))

    jobs.hooks.update(a=plain, b=on_loop)
    push(queue, "a", task=record)
    push(queue, "b")
    assert drain(queue, 1).completed == 2
    thread, loop, same_thread, same_loop = seen
    assert (same_thread, same_loop) == (thread, loop)


def test_what_a_left_task_does_in_the_thread_is_done_before_the_next_job():
    queue, seen = MemoryQueue(), []

    async def clean_up_late():
        try:
            await asyncio.sleep(LONG)
        finally:
            await sync_to_async(leave_a_transaction)()

    async def leave():
        seen.append(asyncio.create_task(clean_up_late()))
        await asyncio.sleep(0)

    async def look():
        await asyncio.sleep(0.02)
        seen.append(await sync_to_async(lambda: connection.in_atomic_block)())

    jobs.hooks.update(a=leave, b=look)
    push(queue, "a", "b")
    assert drain(queue, 1).completed == 2
    assert seen[0].cancelled()
    assert seen[1:] == [False]
