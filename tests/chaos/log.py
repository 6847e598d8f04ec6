"""The log that all processes of a run append to, one line in one write, and how it is read.

    start JOB LEASE_NO ATTEMPT WORKER PID TIME      a job's own code begins
    end   JOB LEASE_NO ATTEMPT WORKER PID TIME      ... is through, or raises
    beat  WORKER ASKED PID TIME                     the store said at TIME that this worker lives; it was asked at ASKED
    dead  WORKER ASKED PID TIME                     ... that it does not
    late  JOB LEASE_NO PID TIME                     a settlement was refused: the lease was lost

Times are the machine's clock, in seconds. It is the stores' clock too: they run on this machine.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = "JOBQUEUE_CHAOS_LOG"


def note(event: str, *words: Any) -> None:
    """`O_APPEND` keeps the lines of several processes apart, and SIGKILL leaves what was written."""
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{event} {' '.join(map(str, words))} {os.getpid()} {time.time():.6f}\n".encode())
    os.close(log)


@dataclass
class Execution:
    """One run of one job, under one lease. `end` is None when nobody saw it."""

    job_id: str
    lease_no: int
    attempt: int
    worker: str
    pid: int
    start: float
    end: float | None = None


@dataclass
class Log:
    """What the processes wrote down. Beats: per worker, when it asked whether it lives and was told that it does."""

    runs: dict[str, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    beats: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    told_dead: set[str] = field(default_factory=set)
    late: int = 0

    @classmethod
    def read(cls, file: Path) -> Log:
        log = cls()
        for line in file.read_text().splitlines() if file.exists() else ():
            event, *words = line.split()
            getattr(log, f"_{event}")(*words)
        return log

    def _start(self, job_id: str, lease_no: str, attempt: str, worker: str, pid: str, moment: str) -> None:
        self.runs[job_id].append(Execution(job_id, int(lease_no), int(attempt), worker, int(pid), float(moment)))

    def _end(self, job_id: str, lease_no: str, attempt: str, worker: str, pid: str, moment: str) -> None:
        for run in reversed(self.runs[job_id]):
            if (run.lease_no, run.pid, run.end) == (int(lease_no), int(pid), None):
                run.end = float(moment)
                return

    def _beat(self, worker: str, asked: str, pid: str, moment: str) -> None:
        self.beats[worker].append(float(asked))

    def _dead(self, worker: str, asked: str, pid: str, moment: str) -> None:
        self.told_dead.add(worker)

    def _late(self, job_id: str, lease_no: str, pid: str, moment: str) -> None:
        self.late += 1
