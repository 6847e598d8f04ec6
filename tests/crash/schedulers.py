"""Schedulers that break at a named point: `python -m tests.crash.schedulers DATABASE`, then lines such as `point:kill`.

Each line is a scheduler of its own, forked from this process, so that Python and Django are started once. Its pid is
the answer.
"""

from __future__ import annotations

import os
import signal
import sys

import django


def live(database: str, failpoint: str) -> None:
    from django_jobqueue import failpoints
    from django_jobqueue.queues.orm import recurring
    from django_jobqueue.scheduling.scheduler import Scheduler

    recurring.FROZEN_SECONDS = 1
    failpoints.hit = failpoints.armed(failpoint)
    Scheduler(database).run()


if __name__ == "__main__":
    django.setup()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that have died leave nothing behind
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(sys.argv[1], line.strip())
            os._exit(1)
        print(child, flush=True)
