"""One async job on its way through the loop and, where anything may block, the thread of its lane."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol
from weakref import WeakSet

from django_jobqueue.lifecycle import outcomes
from django_jobqueue.queues.base import Settlement
from django_jobqueue.workers.announcer import Execution, NotAnswered
from django_jobqueue.workers.atomically import Completion
from django_jobqueue.workers.executor import NOT_RUNNABLE, Executor, milliseconds, not_started, since
from django_jobqueue.workers.interruption import Interrupted
from django_jobqueue.workers.shared_loop import Lane, SharedLoop, TaskWindow
from django_jobqueue.workers.threads import Run
from django_jobqueue.workers.watching import Watching

Attempt = Callable[[], Settlement]
"""Makes up its mind what has become of a job."""
_AT_ONCE: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""Jobs that have begun together end together: if they had all to be ended before the first of the next could begin, the
loop would stand still for that long, again and again. Python 3.11 has no other way."""


class Ends(Protocol):
    """Where the jobs of a worker end."""

    @property
    def was_interrupted(self) -> bool:
        """Whether what runs was told to end. Who comes later is not told."""

    def finish(self, job: JobTask, attempt: Attempt) -> None:
        """At once: nothing of it needs a thread."""

    def finish_in_thread(self, job: JobTask, attempt: Attempt) -> None:
        """Once all of the job that runs in the thread of its lane has ended."""


class JobTask:
    """One async job on its way. What does not say that it runs in the thread of the lane, runs in the loop's."""

    __slots__ = (
        "_announcer",
        "_children",
        "_completion",
        "_encoded",
        "_ends",
        "_error",
        "_execution",
        "_executor",
        "_shared",
        "_start_ms",
        "_value",
        "_watching",
        "begun_at",
        "lane",
        "run",
        "window",
    )
    _execution: Execution
    _watching: Watching

    def __init__(
        self, run: Run, window: TaskWindow, executor: Executor, shared: SharedLoop, lane: Lane, ends: Ends
    ) -> None:
        self.run = run
        self.window = window
        self.lane = lane
        self.begun_at = time.monotonic()
        self._ends = ends
        self._shared = shared
        self._executor = executor
        self._announcer = executor.announcer
        self._children: WeakSet[asyncio.Task[Any]] | None = None
        self._completion: Completion | None = None
        self._error: BaseException | None = None
        self._value: Any = None
        self._encoded = ""
        self._start_ms = 0

    def begin(self) -> None:
        if self._ends.was_interrupted:  # on the way here
            self._ends.finish(self, partial(outcomes.released, self.run.job))
            return
        try:
            self._execution = self._executor.prepare(self.run.job)
            if not self._announcer.start_unheard(self._execution):
                self.lane.thread.submit(self._announce)
                return
        except Exception as error:
            self._give_up(error)
            return
        self._go()

    def _announce(self) -> None:
        """In the thread of the lane."""
        try:
            self._announcer.start(self._execution)
        except Exception as error:
            self._give_up(error)
            return
        self._shared.call(self._go)

    def _give_up(self, error: Exception) -> None:
        """It was not started. In any thread."""

        def attempt() -> Settlement:
            if isinstance(error, NOT_RUNNABLE):
                return self._executor.not_runnable(self.run.job, error)
            if isinstance(error, NotAnswered):
                return not_started(self.run.job, error)
            raise error  # a fault of ours

        self._ends.finish_in_thread(self, attempt)

    def _go(self) -> None:
        self._start_ms = milliseconds(self.begun_at - self.run.held.received_at)
        try:
            self._completion = self._executor.completion_of(self._execution, self._start_ms)
            self._watching = self._executor.watch(self._execution)
        except Exception as error:
            self._give_up(error)
            return
        self.window.open_for(self._run_task())
        if self._ends.was_interrupted:  # in its first lines, which run before that
            self.window.interrupt(Interrupted)

    def _run_task(self) -> asyncio.Task[Any]:
        """The coroutine, in a context that ends with it."""
        context = self.lane.context()
        context.run(_job.set, self)
        task = asyncio.Task(self._call(), loop=self._shared.loop, context=context, **_AT_ONCE)
        self._shared.when_done(task, self._ended)
        return task

    async def _call(self) -> None:
        """In the job's own task and context. Nothing comes out: `SystemExit` would end the loop."""
        run = self._execution
        try:
            if run.definition.takes_context:
                context = self._executor.context_of(run, self._completion, self._watching.deadline)
                self._value = await run.definition.func(context, *run.args, **run.kwargs)
            else:
                self._value = await run.definition.func(*run.args, **run.kwargs)
        except BaseException as error:
            self._error = error

    def note(self, child: asyncio.Task[Any]) -> None:
        """A task that the job has begun. A loop of its own would cancel it when it is closed."""
        if self._children is None:
            self._children = WeakSet()
        self._children.add(child)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.window.shut()
        self._shared.restore_hooks()
        if task.cancelled():  # before its first line
            self._error = asyncio.CancelledError()
        self._encode()
        if self._children is None:
            self._conclude()
        else:
            self._end_children(self._children)

    def _end_children(self, children: WeakSet[asyncio.Task[Any]]) -> None:
        """And wait for them: what they still do in the thread of the lane would reach the next job."""
        left = {child for child in children if not child.done()}

        def one_ended(child: asyncio.Task[Any]) -> None:
            left.discard(child)
            if not left:
                self._end_children(children)  # they may have begun others

        for child in left.copy():
            child.cancel()
            self._shared.when_done(child, one_ended)
        if not left:
            self._conclude()

    def _conclude(self) -> None:
        if self._error is None and not self.lane.thread.was_used and not self._announcer.hears_of_success():
            self._ends.finish(self, self._settle)
        else:
            self._ends.finish_in_thread(self, self._settle)

    def _encode(self) -> None:
        if self._error is None:
            try:
                self._encoded = outcomes.encode_result(self._value)
            except BaseException as error:
                self._error = error

    def _settle(self) -> Settlement:
        """In either thread. A job whose coroutine has ended, and whose synchronous parts have, too."""
        self._watching.end()
        error, self._error = self._error, None  # whose traceback leads to this
        if isinstance(error, asyncio.CancelledError) and self.window.cause is not None:
            cause = self.window.cause().with_traceback(error.__traceback__)  # shows where the job was
            cause.__cause__ = error
            error = cause
        if error is not None:
            self._watching.explain(error)
        timing = outcomes.Timing(self._start_ms, since(self.begun_at))
        return self._executor.ended(self._execution, self._completion, timing, self._encoded, error)


_job: ContextVar[JobTask | None] = ContextVar("jobqueue_job", default=None)
"""The async job of this context."""


def noted(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    if (job := _job.get()) is not None:
        job.note(task)
    return task
