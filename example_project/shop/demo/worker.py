"""A worker and a scheduler as they are started in earnest: `manage.py queue_work`, one command for all stores, and
`manage.py scheduler_run`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db.models import Count

from django_jobqueue.models import JobHistory, RecurringJob
from shop import stores

LOOK_EVERY = 0.2


class WorkerTrouble(Exception):
    """The worker ended by itself, or didn't get done."""


def work_until_nothing_waits(show: Callable[[str], None], patience: float) -> None:
    """Run them until no tick is to come and no job is ready, delayed or running, then ask them to stop.

    Raises `WorkerTrouble` when one ends earlier, or they aren't done after `patience` seconds.
    """
    backends = [word for alias in settings.TASKS for word in ("--backend", alias)]
    crew: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        crew[settings.VAR_DIR / "worker.log"] = start("queue_work", *backends, log=settings.VAR_DIR / "worker.log")
        crew[settings.VAR_DIR / "scheduler.log"] = start("scheduler_run", log=settings.VAR_DIR / "scheduler.log")
        watch(crew, show, time.monotonic() + patience)
    finally:
        for one in crew.values():
            stop(one)
    for log, one in crew.items():
        if one.returncode:
            raise WorkerTrouble(f"The {log.stem} ended with {one.returncode}.\n{tail(log)}")


def start(*words: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *words]
    environment = os.environ | {"JOBQUEUE_EXAMPLE_DEBUG": "0"}  # DEBUG remembers every query
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603


def watch(crew: dict[Path, subprocess.Popen[bytes]], show: Callable[[str], None], deadline: float) -> None:
    while waiting := stores.live_jobs() + ticks_to_come():
        show(f"{waiting:6,} waiting or running, {', '.join(so_far()) or 'nothing done yet'}")
        for log, one in crew.items():
            if one.poll() is not None:
                raise WorkerTrouble(f"The {log.stem} ended while {waiting} jobs waited.\n{tail(log)}")
        if time.monotonic() > deadline:
            logs = "\n".join(map(tail, crew))
            raise WorkerTrouble(f"{waiting} jobs still wait, which should have been over by now.\n{logs}")
        time.sleep(LOOK_EVERY)


def ticks_to_come() -> int:
    """Schedules of the demo that are not over."""
    return RecurringJob.objects.filter(source=RecurringJob.Source.ADMIN, due_at__isnull=False).count()


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
