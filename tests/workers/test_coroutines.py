"""Async jobs as tasks of one loop: nothing that one of them does reaches the others, or the loop."""

from __future__ import annotations

import asyncio
import decimal
import functools
import logging
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.core.cache import caches
from django.db import OperationalError, connection, transaction
from django.utils import timezone, translation

from django_jobqueue import FixedDelays, NoRetry, get_queue, task
from django_jobqueue.compat import task_finished, task_logger, task_started
from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.jobs.registry import TaskDefinition, lookup, register
from django_jobqueue.jobs.retry import RetryStrategy
from django_jobqueue.lifecycle import results
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.signals import job_dead, job_retrying
from django_jobqueue.workers import stops, threads
from django_jobqueue.workers.executor import Executor
from django_jobqueue.workers.shutdown import StopSignals
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Limits, Worker
from tests.waiting import wait_until
from tests.workers import jobs
from tests.workers.jobs import record

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 60.0


@task(retry=NoRetry())
async def act(name: str) -> Any:
    """Says that it ran, then does what the test has put in `jobs.hooks` under its name."""
    jobs.ran.append(name)
    return await jobs.hooks[name]() if name in jobs.hooks else None


@task(retry=NoRetry(), timeout=0.05)
async def act_in_time(name: str) -> Any:
    jobs.ran.append(name)
    return await jobs.hooks[name]()


@task(retry=FixedDelays([0]), takes_context=True)
async def act_twice(context, name: str) -> Any:
    jobs.ran.append(name)
    return await jobs.hooks[name](context)


@pytest.fixture(autouse=True)
def _clean_slate(monkeypatch):
    """Django's log, where pytest listens, is switched off: nobody hears of a job, so nothing of it needs a thread."""
    monkeypatch.setattr(task_logger, "disabled", True)
    jobs.ran.clear()
    jobs.hooks.clear()


def push(queue, *names, task=act, **options):
    return queue.push(*(JobPayload.create(task, (name,), **options) for name in names))


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


def names_of_threads():
    return Counter(thread.name.rpartition("-")[0] for thread in threading.enumerate() if "jobqueue-" in thread.name)


# where they run


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


# what they run in a thread


def where():
    """This thread and its connection: the object is kept, so that no other gets its id."""
    connection.ensure_connection()
    return threading.get_ident(), connection._connections[connection._alias], connection.connection


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


def leave_a_transaction():
    transaction.atomic().__enter__()
    Group.objects.create(name="never committed")


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


# how they are ended


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(stops, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(stops.Lookout, "first_pause", 0.05)


@pytest.mark.parametrize("by", ["timeout", "request"])
def test_a_job_ends_when_its_sync_part_does_and_is_watched_so_long(impatient, by):
    queue, gate, ends, published = MemoryQueue(), threading.Event(), [], []

    def sync_part():
        gate.wait(LONG)
        ends.append("sync part")

    async def wait_for_it():
        try:
            await sync_to_async(sync_part)()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    jobs.hooks["a"] = wait_for_it
    (job_id,) = push(queue, "a", task=act_in_time if by == "timeout" else act)
    with at_work(queue, watch=published.append):
        wait_until(lambda: jobs.ran)
        if by == "request":
            queue.request_cancel(job_id, kill=True)
        wait_until(lambda: ends)
        time.sleep(0.05)
        assert queue.jobs[job_id].room.value == "leased"
        assert published[-1].job_id == job_id
        gate.set()
    assert ends == ["cancelled", "sync part"]
    assert published[-1] is None
    assert queue.history[-1].outcome == ("failed" if by == "timeout" else "cancelled")
    assert reasons(queue) == ({"a": "expired"} if by == "timeout" else {})


def test_a_job_that_waits_is_cancelled_at_its_timeout_and_the_others_go_on():
    queue, party = MemoryQueue(), Party(2)
    jobs.hooks.update(slow=lambda: asyncio.sleep(LONG), a=party, b=party)
    push(queue, "slow", task=act_in_time)
    push(queue, "a", "b")
    push(queue, "sync", task=record)
    assert drain(queue).completed == 3
    assert reasons(queue) == {"slow": "expired"}


def test_a_job_that_swallows_its_cancellation_completes():
    queue = MemoryQueue()

    async def swallow():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            return "all the same"

    jobs.hooks["a"] = swallow
    push(queue, "a", task=act_in_time)
    assert drain(queue).completed == 1
    assert queue.history[-1].result == '"all the same"'


def test_a_job_that_another_cancels_fails():
    """Before its first line, where Python starts no task at once (3.11)."""
    queue = MemoryQueue()

    async def cancel_the_other():
        while not (others := asyncio.all_tasks() - {asyncio.current_task()}):
            await asyncio.sleep(0)
        others.pop().cancel()

    jobs.hooks.update(a=cancel_the_other, b=lambda: asyncio.sleep(LONG))
    push(queue, "a", "b")
    assert drain(queue, 2).completed == 1
    assert errors(queue) == {"b": "asyncio.exceptions.CancelledError"}


def test_the_dead_letter_shows_where_a_job_waited_when_its_time_was_up():
    queue = MemoryQueue()

    async def deep_inside():
        await asyncio.sleep(LONG)  # the line

    jobs.hooks["a"] = deep_inside
    push(queue, "a", task=act_in_time)
    drain(queue)
    (letter,) = queue.dead_letters.values()
    last = letter.traceback.rpartition("The above exception was the direct cause of")[2]
    assert letter.error_message == "it ran longer than its timeout of 0.05 s"
    assert "return await jobs.hooks[name]()" in last
    assert "await asyncio.sleep(LONG)  # the line" in last
    assert last.rstrip().endswith("django_jobqueue.exceptions.JobTimeout: it ran longer than its timeout of 0.05 s")


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


# what is told of them


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


told: list[tuple[str, int, str]] = []


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


# what they are called with, and give


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


# the end


def end_when(condition):
    threading.Thread(target=lambda: (wait_until(condition), signal.raise_signal(signal.SIGTERM)), daemon=True).start()


def run_to_the_signal(queue, slots):
    with StopSignals() as signals:
        signals.run(Worker(queue, slots=Slots(threads=slots, on_loop=True)))


async def _clean_up_badly():
    try:
        await asyncio.sleep(LONG)
    finally:
        raise ValueError("while it was cleaning up")


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(LONG), _clean_up_badly], ids=["waits", "cleans up badly"])
def test_the_end_of_the_grace_interrupts_all_that_runs_and_spends_no_attempt(settings, wait):
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue = MemoryQueue()
    jobs.hooks.update(dict.fromkeys("abc", wait))
    push(queue, *"abc")
    end_when(lambda: len(jobs.ran) == 3)
    run_to_the_signal(queue, 3)
    assert [(job.room.value, job.attempt) for job in queue.jobs.values()] == [("ready", 0)] * 3


def test_the_end_of_the_grace_ends_what_held_the_loop_then_and_what_waited_behind_it(settings):
    """It comes when the window of neither is open."""
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue, ends = MemoryQueue(), []

    async def hold_the_loop():
        end_when(lambda: True)
        wait_until(lambda: queue.jobs and runner[0]._interrupted_at, "the end of the grace")
        try:
            await asyncio.sleep(LONG)
        finally:
            ends.append(time.monotonic() - runner[0]._interrupted_at)

    jobs.hooks.update(a=hold_the_loop, b=lambda: asyncio.sleep(LONG))
    push(queue, "a", "b")
    worker = Worker(queue, slots=Slots(threads=2, on_loop=True))
    runner = [worker._runner]
    with StopSignals() as signals:
        signals.run(worker)
    assert [(job.room.value, job.attempt) for job in queue.jobs.values()] == [("ready", 0)] * 2
    assert jobs.ran == ["a"] or sys.version_info < (3, 12)  # where both windows may be open by then
    assert ends[0] < 1.0  # not when it is told again


def test_a_sync_part_that_cannot_be_interrupted_does_not_keep_the_process(settings, monkeypatch):
    monkeypatch.setattr(threads, "ABANDON_SECONDS", 0.2)
    settings.JOBQUEUE = {"SHUTDOWN_GRACE": 0.05}
    queue, gate, begun = MemoryQueue(), threading.Event(), []

    def hang():
        begun.append(threading.current_thread())
        gate.wait(LONG)

    jobs.hooks["deaf"] = sync_to_async(hang)
    push(queue, "deaf")
    end_when(lambda: begun)
    began = time.monotonic()
    run_to_the_signal(queue, 2)
    assert time.monotonic() - began < LONG / 4
    assert [job.room.value for job in queue.jobs.values()] == ["ready"]
    assert begun[0].daemon
    gate.set()
    begun[0].join(LONG)
