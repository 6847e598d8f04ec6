"""A worker in the test's own thread, and the signal that ends it."""

from __future__ import annotations

import signal
import threading

from django_jobqueue.workers.shutdown import StopSignals
from django_jobqueue.workers.slots import Slots
from django_jobqueue.workers.worker import Worker
from tests.waiting import wait_until


def end_when(condition):
    threading.Thread(target=lambda: (wait_until(condition), signal.raise_signal(signal.SIGTERM)), daemon=True).start()


def run_to_the_signal(queue, slots=Slots()):  # noqa: B008 (immutable)
    with StopSignals() as signals:
        signals.run(Worker(queue, slots=slots))
