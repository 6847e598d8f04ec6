"""Jobs that leave a line in a file when they start and when they end, and jobs that bring their worker down."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from uuid import uuid4

from django.contrib.auth.models import Group

from django_jobqueue import FixedDelays, NoRetry, Snooze, task

LEDGER = "JOBQUEUE_TEST_LEDGER"


def note(event: str, name: str) -> None:
    """One line, in one write: `O_APPEND` keeps the lines of several processes apart."""
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{event} {name} {os.getpid()} {time.monotonic():.4f}\n".encode())
    os.close(ledger)


def die_at(moment: str) -> None:
    """SIGKILL for the worker that was started to die at this moment of a job."""
    if os.environ.get("JOBQUEUE_TEST_DIE_AT") == moment:
        os.kill(os.getpid(), signal.SIGKILL)


@task
def work(name: str) -> str:
    note("start", name)
    die_at("job.started")
    note("end", name)
    die_at("job.finished")
    return name


@task(atomic=True)
def transfer(name: str) -> str:
    """Its effect is a row in the database of its store."""
    note("start", name)
    Group.objects.using(os.environ["JOBQUEUE_TEST_ALIAS"]).create(name=f"{name}-{uuid4()}")
    die_at("job.finished")
    note("end", name)
    return name


@task(retry=FixedDelays([0.1]))
def flaky(name: str) -> None:
    """Fails the first time."""
    note("start", name)
    marks = Path(f"{os.environ[LEDGER]}.{name}")
    if not marks.exists():
        marks.touch()
        raise ValueError(name)
    note("end", name)


@task(retry=NoRetry())
def doomed(name: str) -> None:
    note("start", name)
    raise ValueError(name)


@task
def snooze_once(name: str) -> None:
    note("start", name)
    marks = Path(f"{os.environ[LEDGER]}.{name}")
    if not marks.exists():
        marks.touch()
        raise Snooze(0.05)
    note("end", name)


@task
def killer(name: str, how: str = "kill") -> None:
    """Takes its worker with it, every time."""
    note("start", name)
    if how.startswith("exit"):
        os._exit(0 if how == "exit 0" else 1)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def gated(name: str, gate: str) -> None:
    """Runs until the file `gate` is there."""
    note("start", name)
    while not os.path.exists(gate):
        time.sleep(0.005)
    note("end", name)


@task
def gated_runs(name: str, gate: str) -> None:
    """Like `gated`, with a gate for each run: `gate.1` for the first, `gate.2` for the second."""
    ledger = Path(os.environ[LEDGER])  # read before it is known that this run has begun: who waits for that may stop us
    run = 1 + (ledger.read_text().count(f"start {name} ") if ledger.exists() else 0)
    note("start", name)
    while not os.path.exists(f"{gate}.{run}"):
        time.sleep(0.005)
    note("end", name)


@task
def stubborn(name: str) -> None:
    """Swallows whatever is raised into it, once."""
    note("start", name)
    try:
        time.sleep(60)
    except BaseException:
        note("swallowed", name)
    time.sleep(60)


@task(retry=FixedDelays([0.1]))
def hog(name: str, seconds: int) -> None:
    """Waits for a mutex without letting go of the GIL: no other thread of its process runs meanwhile, and no signal
    handler, for a signal does not end this wait.
    """
    note("start", name)
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_timedlock(mutex, (ctypes.c_long * 2)(int(time.time()) + seconds, 0))
    note("end", name)


@task
def leaves_a_thread(name: str) -> None:
    """One that never ends, for which Python waits at the end of the process."""
    note("start", name)
    threading.Thread(target=threading.Event().wait).start()
    note("end", name)


@task
def ends_its_process(name: str) -> None:
    """Starts a process, and tells it to end."""
    note("start", name)
    ends = []
    for _ in range(20):  # one may be told before it has run a line
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(1)
        ends.append(process.exitcode)
        process.kill()
    note("end" if set(ends) == {-signal.SIGTERM} else "deaf", name)


_hoard: list[bytes] = []


@task
def hoard(name: str, mebibytes: int) -> None:
    """Takes memory and keeps it."""
    note("start", name)
    _hoard.append(os.urandom(mebibytes * 1_048_576))
    note("end", name)


@task
def deaf(name: str) -> None:
    """Swallows whatever is raised into it, always."""
    note("start", name)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@task
async def agated(name: str, gate: str) -> None:
    note("start", name)
    while not os.path.exists(gate):
        await asyncio.sleep(0.005)
    note("end", name)


def _come_to(how: str) -> None:
    if how == "snooze":
        raise Snooze(0.05)
    if how != "complete":
        raise ValueError(how)


@task(retry=FixedDelays([0.1]))
def held_up(name: str, gate: str, how: str) -> None:
    """Runs until the file `gate` is there, then completes, is retried, or comes back later: as `how` says."""
    note("start", name)
    while not os.path.exists(gate):
        time.sleep(0.005)
    note("end", name)
    _come_to(how)


@task(retry=NoRetry())
def held_up_once(name: str, gate: str, how: str) -> None:
    """`held_up`, with one attempt."""
    held_up.func(name, gate, how)


@task
def nap(name: str, ms: int) -> None:
    note("start", name)
    time.sleep(ms / 1_000)
    note("end", name)
