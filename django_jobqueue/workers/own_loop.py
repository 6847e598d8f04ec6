"""An async job with a loop of its own, where jobs run in threads: cancelled when its time is up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync

from django_jobqueue.workers.interruption import JobWindow

CANCEL_SECONDS = 2.0
"""How long a cancelled coroutine may take to clean up."""


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
        window.runs_elsewhere(cancel)
        try:
            return await func(*args, **kwargs)
        finally:
            ended.set()
            window.runs_elsewhere(None)

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
