"""Async jobs as tasks of one event loop, without a thread each.

Where nobody listens and nothing has failed, a job is begun, run and ended in the loop's thread. All that may block (a
receiver of a signal, a retry strategy, a handler of the log, what a job left in its connections) is done in the thread
of its lane, where the synchronous parts of the job ran, and after them.
"""

from __future__ import annotations

import logging
import threading

from django_jobqueue.exceptions import UnknownTask
from django_jobqueue.jobs.registry import lookup
from django_jobqueue.queues.base import Queue
from django_jobqueue.workers.board import Watch
from django_jobqueue.workers.job_task import Attempt, JobTask, noted
from django_jobqueue.workers.outbox import Outbox
from django_jobqueue.workers.pace import Pace
from django_jobqueue.workers.runners import Retire, perform, settlement_of
from django_jobqueue.workers.shared_loop import JOIN_SECONDS, Lane, SharedLoop, TaskWindow
from django_jobqueue.workers.threads import Run, Threads

logger = logging.getLogger("django_jobqueue.worker")


class Coroutines(Threads):
    """Runs up to `slots` jobs at once: async ones on one event loop, the others in threads."""

    def __init__(self, queue: Queue, outbox: Outbox, pace: Pace, watch: Watch, retire: Retire, slots: int) -> None:
        super().__init__(queue, outbox, pace, watch, retire, slots)
        self._shared = SharedLoop()
        self._shared.loop.set_task_factory(noted)
        self._starting = threading.Lock()
        self._on_loop: set[Run] = set()
        self._lanes: list[Lane] = []
        self._made: list[Lane] = []

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
        run.window = window = TaskWindow(self._shared)
        lane = self._lanes.pop() if self._lanes else self._new_lane()
        JobTask(run, window, self._executor_of(run), self._shared, lane, self).begin()

    def _new_lane(self) -> Lane:
        self._made.append(Lane(len(self._made) + 1, self._shared))
        return self._made[-1]

    @property
    def was_interrupted(self) -> bool:
        """Whether what runs was told to end. Who comes later is not told."""
        return self._interrupted_at is not None

    def finish(self, job: JobTask, attempt: Attempt) -> None:
        """Nothing of it needs a thread."""
        self._outbox.finish(settlement_of(attempt, job.run.job, job.window))
        self._pass_on(job)

    def finish_in_thread(self, job: JobTask, attempt: Attempt) -> None:
        """Once all of the job that ran in the thread of its lane has ended."""
        try:
            job.lane.thread.submit(self._finish_in_thread, job, attempt)
        except RuntimeError:  # no thread can be started: better here, where the others wait for it, than never
            logger.exception("Job %s ends in the thread of the loop.", job.run.job.job_id)
            self._finish_in_thread(job, attempt)

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


def _is_async(run: Run) -> bool:
    try:
        return lookup(run.job.task).is_async
    except UnknownTask:
        return False
