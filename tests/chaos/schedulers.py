"""Ten schedulers of one store, killed and frozen at random: `python -m tests.chaos.schedulers DATABASE COUNT`.

One process that forks the others, and forks one again when it was killed: Python and Django are started once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial

import django


def live(database: str) -> None:
    """One of them. It takes few schedules at a time, so that all have something to do."""
    from django_jobqueue.scheduling import scheduler

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    scheduler.tick = partial(scheduler.tick, limit=7)  # type: ignore[assignment]
    scheduler.Scheduler(database).run()


def crew(database: str, count: int) -> None:
    alive: set[int] = set()
    while True:
        while len(alive) < count:
            pid = os.fork()
            if pid == 0:
                live(database)
                os._exit(1)
            alive.add(pid)
        pid, _ = os.waitpid(-1, os.WNOHANG)
        alive.discard(pid)
        time.sleep(0.01)


if __name__ == "__main__":
    django.setup()
    from django.db import connections

    connections.close_all()
    crew(sys.argv[1], int(sys.argv[2]))
