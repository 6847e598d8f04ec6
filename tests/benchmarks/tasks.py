"""The job that is measured, and what it remembers.

A start costs two appends to an array, the same for every system; the file is written when the process ends.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from array import array
from pathlib import Path
from typing import Any

from django.db.backends.signals import connection_created

from tests.benchmarks import trace

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task

started, sent = array("q"), array("q")
cpu_at_first = 0.0


@task
def noop(sent_ns: int) -> None:
    """Does nothing. `sent_ns` is the producer's clock when it called enqueue, in nanoseconds."""
    global cpu_at_first
    if not started:
        cpu_at_first = time.process_time()
    started.append(time.time_ns())
    sent.append(sent_ns)


def write_record(directory: str) -> None:
    record = {
        "started": started.tolist(),
        "sent": sent.tolist(),
        "ended": time.time_ns(),
        "cpu_s": time.process_time() - cpu_at_first,
    }
    Path(directory, f"{os.getpid()}.json").write_text(json.dumps(record))


def trace_connection(connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql":
        trace.begin(connection.connection.pgconn)


def install() -> None:
    """What this process has to tell, as its environment asks."""
    if directory := os.environ.get("BENCH_RECORD"):
        atexit.register(write_record, directory)
    if trace.directory():
        connection_created.connect(trace_connection)
