"""A worker as it is started in earnest: `manage.py queue_work`, one command for all stores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db.models import Count

from django_jobqueue.models import JobHistory
from shop import stores

LOOK_EVERY = 0.2


class WorkerTrouble(Exception):
    """The worker ended by itself, or didn't get done."""


def work_until_nothing_waits(show: Callable[[str], None], patience: float) -> None:
    """Run a worker until no job is ready, delayed or running, then ask it to stop.

    Raises `WorkerTrouble` when it ends earlier, or isn't done after `patience` seconds.
    """
    log = settings.VAR_DIR / "worker.log"
    backends = [word for alias in settings.TASKS for word in ("--backend", alias)]
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "queue_work", *backends]
    environment = os.environ | {"JOBQUEUE_EXAMPLE_DEBUG": "0"}  # DEBUG remembers every query
    with log.open("wb") as output:
        worker = subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603
    try:
        watch(worker, show, time.monotonic() + patience, log)
    finally:
        stop(worker)
    if worker.returncode:
        raise WorkerTrouble(f"The worker ended with {worker.returncode}.\n{tail(log)}")


def watch(worker: subprocess.Popen[bytes], show: Callable[[str], None], deadline: float, log: Path) -> None:
    while waiting := stores.live_jobs():
        show(f"{waiting:6,} waiting or running, {', '.join(so_far()) or 'nothing done yet'}")
        if worker.poll() is not None:
            raise WorkerTrouble(f"The worker ended while {waiting} jobs waited.\n{tail(log)}")
        if time.monotonic() > deadline:
            raise WorkerTrouble(f"{waiting} jobs still wait, which should have been over by now.\n{tail(log)}")
        time.sleep(LOOK_EVERY)


def so_far() -> list[str]:
    counts = JobHistory.objects.order_by().values_list("outcome").annotate(Count("pk"))
    return [f"{count:,} {outcome}" for outcome, count in sorted(counts)]


def stop(worker: subprocess.Popen[bytes]) -> None:
    """SIGTERM, as an init system would: it finishes the job in hand and signs off."""
    worker.terminate()
    try:
        worker.wait(timeout=40)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def tail(log: Path, lines: int = 20) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"The end of {log}:", *text[-lines:]])
