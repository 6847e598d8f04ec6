"""Tasks of the API tests. The module is no app's `tasks.py`: a test that imports it registers them."""

from __future__ import annotations

from typing import Any

from django_jobqueue import Discard, ExponentialBackoff, FixedDelays, NoRetry, Retry, Snooze, task

CALLS: list[Any] = []
"""What ran, in order. Emptied before each test (conftest.py)."""


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    CALLS.append((args, kwargs))
    return [list(args), kwargs]


@task
def give(value: Any) -> Any:
    return value


@task
async def echo_async(*args: Any, **kwargs: Any) -> Any:
    CALLS.append((args, kwargs))
    return [list(args), kwargs]


@task
def meaning_of_life() -> int:
    return 42


@task
async def meaning_of_life_async() -> int:
    return 42


@task
def as_tuple() -> tuple[int, tuple[int, int]]:
    return 1, (2, 3)


@task(takes_context=True)
def own_id(context: Any) -> str:
    return context.task_result.id


@task(takes_context=True)
def attempt(context: Any, *, label: str = "") -> int:
    CALLS.append((context.attempt, context.task_result.status, context.task_result.attempts))
    return context.attempt


@task(takes_context=True)
async def attempt_async(context: Any) -> int:
    return context.attempt


@task(retry=NoRetry())
def fail(message: str = "no") -> None:
    raise ValueError(message)


@task(retry=NoRetry())
def leave() -> None:
    raise SystemExit("This task failed due to SystemExit")


@task(retry=NoRetry())
async def fail_async(message: str = "no") -> None:
    raise ValueError(message)


@task(retry=FixedDelays([0, 0]), takes_context=True)
def succeed_at(context: Any, attempt: int) -> int:
    CALLS.append(context.attempt)
    if context.attempt < attempt:
        raise ConnectionError("not yet")
    return context.attempt


@task(retry=FixedDelays([600]))
def fail_later() -> None:
    raise ConnectionError("later")


@task(retry=ExponentialBackoff(max_attempts=5, base=0, cap=0, only=ConnectionError))
def only_connection_errors(kind: str) -> None:
    CALLS.append(kind)
    raise {"connection": ConnectionError, "reset": ConnectionResetError, "value": ValueError}[kind](kind)


@task(retry=ExponentialBackoff(max_attempts=5, base=0, cap=0, never=LookupError))
def never_lookup_errors(kind: str) -> None:
    CALLS.append(kind)
    raise {"key": KeyError, "value": ValueError}[kind](kind)


@task(retry=FixedDelays([600, 600]), takes_context=True)
def ask_for_retry(context: Any, in_: Any = 0) -> None:
    CALLS.append(context.attempt)
    raise Retry(in_, reason="the other side is busy")


@task(retry=FixedDelays([600, 600]))
def discard() -> None:
    CALLS.append("discard")
    raise Discard("the customer is gone")


@task(retry=FixedDelays([0]), takes_context=True)
def snooze(context: Any, in_: Any, times: int = 1) -> int:
    CALLS.append(context.attempt)
    if len(CALLS) <= times:
        raise Snooze(in_)
    return context.attempt


@task
def enqueue_myself() -> None:
    enqueue_myself.enqueue()


@task
def enqueue_another() -> None:
    meaning_of_life.enqueue()


@task
def interrupt() -> None:
    raise KeyboardInterrupt


@task(name="shop.orders.import", queue_name="emails", priority="high", timeout=30, retry=FixedDelays([60, 300]))
def named(number: int) -> int:
    return number
