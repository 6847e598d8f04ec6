"""One event loop for the async jobs of a worker, and what each of them has of its own beside it: a lane."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from django_jobqueue.workers.hygiene import clean_connections, close_connections, prepare_thread
from django_jobqueue.workers.interruption import JobWindow
from django_jobqueue.workers.traces import Traces

logger = logging.getLogger("django_jobqueue.worker")

JOIN_SECONDS = 2.0


class SharedLoop:
    """An event loop in a thread of its own, which starts with the first who needs it. It outlives what a job does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._context = Context()
        self._is_over = False
        self._traces: Traces | None = None
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(CleaningPool())

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Call it in the loop's thread: now, when this is it, else as soon as it can."""
        self._start()
        if threading.current_thread() is self._thread:
            callback(*args)
        else:
            self.loop.call_soon_threadsafe(partial(callback, *args), context=self._context)

    def when_done(self, task: asyncio.Task[Any], callback: Callable[[asyncio.Task[Any]], object]) -> None:
        """Not in the context of the job: what comes after it would inherit that."""
        task.add_done_callback(callback, context=self._context)

    def enter(self) -> None:
        """From here on, `async_to_sync` in this thread uses the loop: as if it had come from there."""
        self._start()
        SyncToAsync.threadlocal.main_event_loop = self.loop
        SyncToAsync.threadlocal.main_event_loop_pid = os.getpid()

    def restore_hooks(self) -> None:
        """What a job may have set for the loop's thread."""
        if self._traces is not None:
            self._traces.restore_hooks()

    def stop(self) -> None:
        self._is_over = True
        if self._thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(JOIN_SECONDS)
        if self._thread is None or not self._thread.is_alive():
            self.loop.close()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="jobqueue-loop", daemon=True)
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        self._traces = Traces()
        while not self._is_over:
            try:
                self.loop.run_forever()
            except BaseException:  # SystemExit in a task that a job has begun ends it, and so does `loop.stop()`
                logger.exception("A task has ended the event loop of all jobs; it goes on.")


class CleaningPool(ThreadPoolExecutor):
    """What a job runs in any thread (`asyncio.to_thread`). Each call ends there with its connections, as a job does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_run_clean, fn, *args, **kwargs)


def _run_clean(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        clean_connections()


class SyncThread(Executor):
    """What a job runs with `sync_to_async`: one call after the other in one thread, which starts with the first.

    It is a daemon: one whose call never ends must not keep the process from ending.
    """

    def __init__(self, name: str, enter: Callable[[], None]) -> None:
        self.was_used = False
        """Whether anything was given to it since somebody set this to False."""
        self._name = name
        self._enter = enter
        self._lock = threading.Lock()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Raises `RuntimeError` when there is no thread yet, and none can be started."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
        self.was_used = True
        future: Future[Any] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def stop(self) -> None:
        """After what it was given."""
        self._calls.put(None)

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        self._enter()
        prepare_thread()
        traces = Traces()
        try:
            while (call := self._calls.get()) is not None:
                _run(*call)
                del call  # it may hold all that a job has made
                traces.restore()
        finally:
            close_connections()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # SystemExit, too, is for whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)


class Lane:
    """What one async job after the other has of its own: Django's caches and task backends, and a thread.

    A thread that runs jobs has them, too. Here the thread starts only when a job, or what is told of it, needs one.
    Made in the loop's thread: asgiref shows what belongs to a context to nobody else.
    """

    def __init__(self, number: int, shared: SharedLoop) -> None:
        self.thread = SyncThread(f"jobqueue-sync-{number}", shared.enter)
        self._sensitive = ThreadSensitiveContext()
        self._context = Context()
        self._context.run(self._prepare)

    def _prepare(self) -> None:
        prepare_thread()
        # As `async with ThreadSensitiveContext()` does, which would make a thread for each job.
        SyncToAsync.thread_sensitive_context.set(self._sensitive)
        SyncToAsync.context_to_thread_executor[self._sensitive] = self.thread

    def context(self) -> Context:
        """For one job: what it sets ends with it."""
        return self._context.copy()


class TaskWindow(JobWindow):
    """The window of one async job. `interrupt` is for other threads, all else for that of the loop."""

    def __init__(self, shared: SharedLoop) -> None:
        super().__init__()
        self._shared = shared
        self._task: asyncio.Task[Any] | None = None
        self._cause: type[BaseException] | None = None

    def open_for(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.open()

    def shut(self) -> None:
        super().shut()
        self._task = None  # whose context leads to this

    def interrupt(self, cause: type[BaseException]) -> bool:
        if not self.is_open:
            return False
        with suppress(RuntimeError):  # the loop is closed: nothing runs there
            self._shared.call(self._cancel, cause)
        return True

    def _cancel(self, cause: type[BaseException]) -> None:
        if self.is_open and self._task is not None:  # it may have ended on the way here
            self.was_interrupted = True
            self._cause = cause
            self._task.cancel()

    @property
    def cause(self) -> type[BaseException] | None:
        return self._cause
