"""Async jobs: run to their end in an event loop beside the worker's thread, and cancelled when their time is up."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from asgiref.sync import SyncToAsync, async_to_sync

from django_jobqueue.workers.interruption import JobWindow

CANCEL_SECONDS = 2.0
"""How long a cancelled coroutine may take to clean up."""
JOIN_SECONDS = 2.0
_begun: ContextVar[WeakSet[asyncio.Task[Any]] | None] = ContextVar("jobqueue_tasks", default=None)
"""The tasks that the job of this context has begun on a shared loop."""


def run_coroutine(window: JobWindow, func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
    """As `async_to_sync(func)`, but what interrupts the job cancels the coroutine, and comes out of here.

    asgiref would leave it running: the job, given back, could start elsewhere meanwhile, and this process not end.
    """
    running: list[asyncio.Task[Any]] = []
    ended = threading.Event()

    def cancel() -> None:
        if running and not ended.is_set():
            with suppress(RuntimeError):  # the loop has just ended by itself
                running[0].get_loop().call_soon_threadsafe(running[0].cancel)

    async def cancellable() -> Any:
        if task := asyncio.current_task():
            running.append(task)
        begun: WeakSet[asyncio.Task[Any]] = WeakSet()
        _begun.set(begun)
        window.runs_elsewhere(cancel)
        try:
            return await func(*args, **kwargs)
        finally:
            ended.set()
            window.runs_elsewhere(None)
            for task in begun:  # a loop of its own would cancel them when it is closed
                task.cancel()

    try:
        return async_to_sync(cancellable)()
    except asyncio.CancelledError as cancelled:
        if window.cause is not None:
            raise window.cause from cancelled
        raise
    except BaseException:
        cancel()
        if running:
            ended.wait(CANCEL_SECONDS)
        raise


class SharedLoop:
    """One event loop in a thread of its own, for the coroutines of all jobs. It starts with the first thread that asks.

    What such a coroutine calls with `sync_to_async` runs in the thread of its job, with that thread's connections.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """From here on, `async_to_sync` in this thread uses the loop: as if it had come from there."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_task_factory(_noted)
                self._thread = threading.Thread(target=self._loop.run_forever, name="jobqueue-loop", daemon=True)
                self._thread.start()
        SyncToAsync.threadlocal.main_event_loop = self._loop
        SyncToAsync.threadlocal.main_event_loop_pid = os.getpid()

    def stop(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


def _noted(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    if (begun := _begun.get()) is not None:
        begun.add(task)
    return task
