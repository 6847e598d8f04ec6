"""Async jobs: run to their end in an event loop beside the worker's thread, and cancelled when the worker must go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync

CANCEL_SECONDS = 2.0
"""How long a cancelled coroutine may take to clean up."""


def run_coroutine(func: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
    """As `async_to_sync(func)`, but what is raised into the waiting thread, an `Interrupted`, cancels the coroutine.

    asgiref would leave it running: the job, given back, could start elsewhere meanwhile, and this process not end.
    """
    running: list[asyncio.Task[Any]] = []
    ended = threading.Event()

    async def cancellable() -> Any:
        if task := asyncio.current_task():
            running.append(task)
        try:
            return await func(*args, **kwargs)
        finally:
            ended.set()

    try:
        return async_to_sync(cancellable)()
    except BaseException:
        if running and not ended.is_set():
            with suppress(RuntimeError):  # the loop has just ended by itself
                running[0].get_loop().call_soon_threadsafe(running[0].cancel)
            ended.wait(CANCEL_SECONDS)
        raise
