"""What sees to a job while it runs: whether it is asked to stop, and whether its time is up."""

from __future__ import annotations

from django_jobqueue.exceptions import JobTimeout
from django_jobqueue.queues.base import Reservation
from django_jobqueue.workers.interruption import JobWindow
from django_jobqueue.workers.stops import Running, Stops
from django_jobqueue.workers.timeouts import Timeouts, complete


class Watching(Running):
    """Of one job, from here to `end`. `timeout` in seconds; None: for ever. Without `timeouts` nobody sees to it.

    `deadline` is when its time is up, on the monotonic clock.
    """

    __slots__ = ("_stops", "_timeout", "deadline")

    def __init__(
        self, job: Reservation, window: JobWindow, stops: Stops, timeouts: Timeouts | None, timeout: float | None
    ) -> None:
        super().__init__(job, window, timeouts)
        self.deadline = None if timeout is None else self.begun + timeout
        self._stops = stops
        self._timeout = timeout
        stops.begin(self)
        if self.deadline is not None and timeouts is not None:
            timeouts.begin(job, self.deadline, window)

    def explain(self, error: BaseException) -> None:
        """Say in a `JobTimeout` how much time there was."""
        if self._timeout is not None and isinstance(error, JobTimeout):
            complete(error, self._timeout)

    def end(self) -> None:
        """The window of the job is shut."""
        if self.deadline is not None and self.timeouts is not None:
            self.timeouts.end(self.job)
        self._stops.end(self)
