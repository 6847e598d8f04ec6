"""Async jobs as tasks of one event loop, without a thread each.

Where nobody listens and nothing has failed, a job is begun, run and ended in the loop's thread. All that may block (a
receiver of a signal, a retry strategy, a handler of the log, what a job left in its connections) is done in the thread
of its lane, where the synchronous parts of the job ran, and after them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakSet

from django_jobqueue.exceptions import UnknownTask
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.lifecycle import outcomes
from django_jobqueue.queues.base import Queue, Settlement
from django_jobqueue.workers.announcer import Execution, NotAnswered
from django_jobqueue.workers.atomically import Completion
from django_jobqueue.workers.board import Watch
from django_jobqueue.workers.executor import NOT_RUNNABLE, Executor, milliseconds, not_started, since
from django_jobqueue.workers.interruption import Interrupted
from django_jobqueue.workers.outbox import Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.runners import Retire, perform
from django_jobqueue.workers.shared_loop import JOIN_SECONDS, Lane, SharedLoop, TaskWindow
from django_jobqueue.workers.surroundings import Traces
from django_jobqueue.workers.threads import Run, Threads
from django_jobqueue.workers.watching import Watching

logger = logging.getLogger("django_jobqueue.worker")

Attempt = Callable[[], Settlement]
_AT_ONCE: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""Jobs that have begun together end together: if they had all to be ended before the first of the next could begin, the
loop would stand still for that long, again and again. Python 3.11 has no other way."""


class Coroutines(Threads):
    """Runs up to `slots` jobs at once: async ones on one event loop, the others in threads."""

    def __init__(self, queue: Queue, outbox: Outbox, pace: Pace, watch: Watch, retire: Retire, slots: int) -> None:
        super().__init__(queue, outbox, pace, watch, retire, slots)
        self._shared = SharedLoop()
        self._shared.loop.set_task_factory(_noted)
        self._starting = threading.Lock()
        self._on_loop: set[Run] = set()
        self._lanes: list[Lane] = []
        self._made: list[Lane] = []
        self._traces: Traces | None = None

    def end(self) -> None:
        super().end()
        for lane in self._made:
            lane.thread.stop()
        for lane in self._made:
            lane.thread.join(0 if self._running else JOIN_SECONDS)
        self._shared.stop()

    # -- from any thread ---------------------------------------------------------------------------------------------

    def _start(self, run: Run) -> None:
        if _is_async(run):
            self._on_loop.add(run)
            self._shared.call(self._begin, run)
            return
        with self._starting:
            if len(self._threads) < len(self._running) - len(self._on_loop):
                self._start_thread()
        self._given.put(run)

    # -- in a thread that runs plain functions -----------------------------------------------------------------------

    def _enter_thread(self) -> None:
        self._shared.enter()

    def _run_one(self, run: Run) -> Run | None:
        following = super()._run_one(run)
        if following is None or not _is_async(following):
            return following
        self._start(following)
        return None

    # -- in the loop's thread ----------------------------------------------------------------------------------------

    def _begin(self, run: Run) -> None:
        if self._traces is None:
            self._traces = Traces()
        run.window = window = TaskWindow(self._shared)
        lane = self._lanes.pop() if self._lanes else self._new_lane()
        JobTask(self, run, window, self._executor_of(run), lane).begin()

    def _new_lane(self) -> Lane:
        self._made.append(Lane(len(self._made) + 1, self._shared))
        return self._made[-1]

    def run_task(self, job: JobTask) -> asyncio.Task[Any]:
        """Its coroutine, in a context that ends with it."""
        context = job.lane.context()
        context.run(_job.set, job)
        task = asyncio.Task(job.call(), loop=self._shared.loop, context=context, **_AT_ONCE)
        self._shared.when_done(task, job.ended)
        return task

    @property
    def was_interrupted(self) -> bool:
        """Whether what runs was told to end. Who comes later is not told."""
        return self._interrupted_at is not None

    def when_done(self, task: asyncio.Task[Any], callback: Callable[[asyncio.Task[Any]], object]) -> None:
        self._shared.when_done(task, callback)

    def restore_hooks(self) -> None:
        if self._traces is not None:
            self._traces.restore_hooks()

    def finish(self, job: JobTask, attempt: Attempt) -> None:
        """Nothing of it needs a thread."""
        try:
            settlement = attempt()
        except Exception as error:
            logger.exception("Job %s could not be run.", job.run.job.job_id)
            settlement = outcomes.failed(job.run.job, error, None, outcomes.Timing())
        self._outbox.finish(settlement)
        self._pass_on(job)

    def finish_in_thread(self, job: JobTask, attempt: Attempt) -> None:
        """Once all of the job that ran in the thread of its lane has ended."""
        try:
            job.lane.thread.submit(self._finish_in_thread, job, attempt)
        except RuntimeError:  # no thread can be started: better here, where the others wait for it, than never
            logger.exception("Job %s ends in the thread of the loop.", job.run.job.job_id)
            self._finish_in_thread(job, attempt)

    def in_loop(self, callback: Callable[[], object]) -> None:
        """From any thread."""
        self._shared.call(callback)

    # -- there, or in the thread of a lane ---------------------------------------------------------------------------

    def _finish_in_thread(self, job: JobTask, attempt: Attempt) -> None:
        try:
            perform(attempt, job.run.job, job.window, self._outbox)
        except Exception:
            logger.exception("What job %s left behind could not be cleaned up.", job.run.job.job_id)
        finally:
            self._pass_on(job)

    def _pass_on(self, job: JobTask) -> None:
        """Its lane, and its slot, to the next."""
        job.lane.thread.was_used = False
        self._lanes.append(job.lane)
        self._on_loop.discard(job.run)
        following = self._leave(job.run, job.begun_at)
        if following is not None:
            self._start(following)


class JobTask:
    """One async job on its way. What does not say that it runs in the thread of the lane, runs in the loop's."""

    __slots__ = (
        "_announcer",
        "_children",
        "_completion",
        "_encoded",
        "_error",
        "_execution",
        "_executor",
        "_runner",
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

    def __init__(self, runner: Coroutines, run: Run, window: TaskWindow, executor: Executor, lane: Lane) -> None:
        self.run = run
        self.window = window
        self.lane = lane
        self.begun_at = time.monotonic()
        self._runner = runner
        self._executor = executor
        self._announcer = executor.announcer
        self._children: WeakSet[asyncio.Task[Any]] | None = None
        self._completion: Completion | None = None
        self._error: BaseException | None = None
        self._value: Any = None
        self._encoded = ""
        self._start_ms = 0

    def begin(self) -> None:
        if self._runner.was_interrupted:  # on the way here
            self._runner.finish(self, partial(outcomes.released, self.run.job))
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
        self._runner.in_loop(self._go)

    def _give_up(self, error: Exception) -> None:
        """It was not started. In any thread."""

        def attempt() -> Settlement:
            if isinstance(error, NOT_RUNNABLE):
                return self._executor.not_runnable(self.run.job, error)
            if isinstance(error, NotAnswered):
                return not_started(self.run.job, error)
            raise error  # a fault of ours

        self._runner.finish_in_thread(self, attempt)

    def _go(self) -> None:
        self._start_ms = milliseconds(self.begun_at - self.run.held.received_at)
        try:
            self._completion = self._executor.completion_of(self._execution, self._start_ms)
            self._watching = self._executor.watch(self._execution)
        except Exception as error:
            self._give_up(error)
            return
        self.window.open_for(self._runner.run_task(self))
        if self._runner.was_interrupted:  # in its first lines, which run before that
            self.window.interrupt(Interrupted)

    async def call(self) -> None:
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

    def ended(self, task: asyncio.Task[Any]) -> None:
        self.window.shut()
        self._runner.restore_hooks()
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
            self._runner.when_done(child, one_ended)
        if not left:
            self._conclude()

    def _conclude(self) -> None:
        if self._error is None and not self.lane.thread.was_used and not self._announcer.hears_of_success():
            self._runner.finish(self, self._settle)
        else:
            self._runner.finish_in_thread(self, self._settle)

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


def _noted(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    if (job := _job.get()) is not None:
        job.note(task)
    return task


def _is_async(run: Run) -> bool:
    try:
        return lookup(run.job.task).is_async
    except UnknownTask:
        return False
