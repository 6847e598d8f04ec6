"""How a worker is told to stop: signals, and the autoreloader."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from django.utils.autoreload import file_changed

from django_jobqueue.conf import conf
from django_jobqueue.workers.executor import Interrupted
from django_jobqueue.workers.worker import Counters, Worker

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_until_signalled(worker: Worker) -> Counters:
    """Run a worker in the main thread. The first signal drains it; the second, or the end of the grace, interrupts the job."""

    def interrupt() -> None:
        if worker.may_interrupt:
            worker.may_interrupt = False
            raise Interrupted

    def on_stop(number: int, frame: FrameType | None) -> None:
        if worker.is_stopping:
            interrupt()
        worker.stop()
        signal.setitimer(signal.ITIMER_REAL, conf().SHUTDOWN_GRACE)

    def on_grace_over(number: int, frame: FrameType | None) -> None:
        interrupt()
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # not in the job's own code at this instant: ask again soon

    previous: dict[int, Any] = {number: signal.signal(number, on_stop) for number in _STOP_SIGNALS}
    previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, on_grace_over)
    try:
        return worker.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def stop_before_reload(worker: Worker) -> None:
    """Let the running job finish, and give back the rest, before the autoreloader replaces the process."""
    done = threading.Event()
    run = worker.run

    def run_and_tell() -> Counters:
        try:
            return run()
        finally:
            done.set()

    def on_change(**_: Any) -> None:
        worker.stop()
        done.wait(conf().SHUTDOWN_GRACE)

    worker.run = run_and_tell  # type: ignore[method-assign]
    file_changed.connect(on_change, weak=False)
