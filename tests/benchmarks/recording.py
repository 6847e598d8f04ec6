"""What a measured process remembers: when each job began, and when its producer had called enqueue.

A start costs two appends to an array, the same for every system; the file is written when the process ends.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import time
from array import array
from multiprocessing.util import Finalize, register_after_fork
from pathlib import Path

from tests.benchmarks import trace

started, sent = array("q"), array("q")
cpu_at_first = 0.0
written_at_first = 0


def run(sent_ns: int) -> None:
    """The body of the job that is measured: it does nothing. `sent_ns` is the producer's clock, in nanoseconds."""
    global cpu_at_first, written_at_first
    if not started:
        cpu_at_first, written_at_first = time.process_time(), written()
    started.append(time.time_ns())
    sent.append(sent_ns)


def written() -> int:
    """Bytes that this process has written: on SQLite those are the log and the pages of the file."""
    return int(re.search(r"^wchar: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[1])


def write(directory: str) -> None:
    record = {
        "started": started.tolist(),
        "sent": sent.tolist(),
        "ended": time.time_ns(),
        "cpu_s": time.process_time() - cpu_at_first,
        "written": written() - written_at_first,
    }
    Path(directory, f"{os.getpid()}.json").write_text(json.dumps(record))


def install() -> None:
    """Whatever this process has to tell, as its environment asks."""
    if directory := os.environ.get("BENCH_RECORD"):
        atexit.register(write, directory)
        register_after_fork(started, lambda _: Finalize(None, write, (directory,), exitpriority=0))
    if trace.directory():
        trace.count_redis()
