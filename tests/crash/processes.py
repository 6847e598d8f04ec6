"""Real worker processes, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from django_jobqueue.jobs.payload import JobPayload
from django_jobqueue.models import DeadLetterJob, DelayedJob, Job, JobHistory, JobLock, JobPriority, WorkerProcess
from django_jobqueue.queues.base import Queue
from django_jobqueue.queues.orm import OrmQueue
from tests import proc
from tests.crash import tasks
from tests.waiting import PATIENCE, wait_until


class Line(NamedTuple):
    """A line of the ledger."""

    event: str
    name: str
    pid: int
    time: float


class Stage:
    """One store with its queue, a ledger, and the processes a test starts; all of them are gone at its end."""

    def __init__(self, alias: str, directory: Path, env: dict[str, str], lease: float) -> None:
        self.alias = alias
        self.directory = directory
        self.lease = lease
        self.queue = self.open_queue()
        self.ledger = directory / "ledger"
        self.env = env | {
            "DJANGO_SETTINGS_MODULE": "tests.crash.settings",
            "JOBQUEUE_TEST_ALIAS": alias,
            "JOBQUEUE_TEST_LEASE": str(lease),
            "JOBQUEUE_TEST_LOG": "1",
            "PYTHONWARNINGS": "error",
            tasks.LEDGER: str(self.ledger),
        }
        self._started: list[subprocess.Popen[str]] = []
        self._leaders: set[int] = set()
        self._heard: dict[int, str] = {}

    # -- the store: an ORM one here, see RedisStage --------------------------------------------------------------------

    @property
    def database(self) -> str:
        """Where its history and its dead letters are."""
        return self.alias

    def open_queue(self) -> Queue:
        return OrmQueue(self.alias, database=self.alias, lease=self.lease)

    # -- processes ---------------------------------------------------------------------------------------------------

    def start(
        self, *command: str, conf: dict[str, Any] | None = None, new_session: bool = False, **env: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=self.env | {"JOBQUEUE_TEST_CONF": json.dumps(conf or {})} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=new_session,
            text=True,
        )
        self._started.append(process)
        if new_session:
            self._leaders.add(process.pid)
        return process

    def worker(self, *options: str, **more: Any) -> subprocess.Popen[str]:
        """A worker that is one process; with `--processes 2`, two and their parent."""
        several = () if "--processes" in options else ("--processes", "0")
        return self.start("django", "queue_work", "--backend", self.alias, *several, *options, **more)

    def close(self) -> None:
        for leader in self._leaders:  # children that are left hold the output open
            with suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)
        for process in self._started:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
            if process.pid not in self._heard:
                self._heard[process.pid] = "" if process.stderr.closed else process.communicate()[1]
        self.queue.close()

    # -- jobs --------------------------------------------------------------------------------------------------------

    def push(self, task: Any, *args: Any, **options: Any) -> UUID:
        return self.queue.push(JobPayload.create(task, args, **options))[0]

    def lines(self, event: str | None = None, name: str | None = None) -> list[Line]:
        if not self.ledger.exists():
            return []
        whole, _, _ = self.ledger.read_text().rpartition("\n")  # behind it, a line that is being written
        rows = [line.split() for line in whole.splitlines()]
        found = [Line(row[0], row[1], int(row[2]), float(row[3])) for row in rows]
        return [one for one in found if event in (None, one.event) and name in (None, one.name)]

    def names(self, event: str) -> list[str]:
        return [line.name for line in self.lines(event)]

    def wait_for(self, event: str, name: str | None = None, count: int = 1) -> list[Line]:
        def enough() -> list[Line]:
            is_over = all(process.poll() is not None for process in self._started)
            found = self.lines(event, name)
            assert len(found) >= count or not is_over, f"all processes have ended before {event} {name}"
            return found if len(found) >= count else []

        try:
            return wait_until(enough, f"{count} x {event} {name or 'any job'}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.last_words()}") from None

    def last_words(self) -> str:
        """Ends all processes; what they said on standard error."""
        self.close()
        return "\n".join(
            f"--- {process.args}: {process.returncode}\n{self._heard[process.pid]}" for process in self._started
        )

    def push_many(self, task: Any, count: int, name: str = "job") -> list[UUID]:
        return self.queue.push(*(JobPayload.create(task, (f"{name}{n}",)) for n in range(count)))

    # -- what the store says -----------------------------------------------------------------------------------------

    def leases(self) -> int:
        return JobLock.objects.using(self.alias).filter(name="").count()

    def live(self) -> int:
        return Job.objects.using(self.alias).count()

    def history(self) -> QuerySet[JobHistory]:
        return JobHistory.objects.using(self.database).filter(store=self.queue.store)

    def outcomes(self, job_id: UUID | None = None) -> Counter[str]:
        rows = self.history()
        rows = rows if job_id is None else rows.filter(job_id=job_id)
        return Counter(rows.values_list("outcome", flat=True))

    def was_settled(self, job_id: UUID) -> bool:
        """Whether an execution of this job has ended as its worker decided, whoever knows."""
        return bool(self.outcomes(job_id) - Counter(lost=1))

    def dead(self) -> dict[UUID, DeadLetterJob]:
        letters = DeadLetterJob.objects.using(self.database).filter(store=self.queue.store)
        return {letter.pk: letter for letter in letters}

    def attempts_burnt(self) -> dict[UUID, int]:
        """Jobs that wait and have spent more attempts, or fewer, than their history says they failed."""
        failures = self.history().filter(outcome="retrying").values_list("job_id", flat=True)
        spent = Counter(failures)
        return {job_id: attempt for job_id, attempt in self.waiting() if attempt != spent[job_id]}

    def waiting(self) -> list[tuple[UUID, int]]:
        """The jobs that wait, with their attempts."""
        return [
            *JobPriority.objects.using(self.alias).values_list("job_id", "attempt"),
            *DelayedJob.objects.using(self.alias).values_list("job_id", "attempt"),
        ]

    def workers(self, *states: str) -> int:
        return WorkerProcess.objects.using(self.database).filter(store=self.queue.store, state__in=states).count()

    def has_joined(self, worker: subprocess.Popen[str]) -> bool:
        """Whether the store knows this process: it handles SIGTERM since then."""
        rows = WorkerProcess.objects.using(self.database).filter(store=self.queue.store, pid=worker.pid)
        return bool(rows.exists())

    def is_settled(self) -> bool:
        return self.live() == 0

    def freeze(self, pid: int) -> None:
        """Stop a process, but not while it writes to SQLite: nobody else could write there until it goes on."""

        def is_frozen() -> bool:
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: proc.state(pid) == "T")
            if self._can_be_written():
                return True
            os.kill(pid, signal.SIGCONT)
            return False

        wait_until(is_frozen, f"{pid} holds no lock")

    def _can_be_written(self) -> bool:
        if connections[self.database].vendor != "sqlite":
            return True
        with closing(sqlite3.connect(connections[self.database].settings_dict["NAME"], timeout=0.5, uri=True)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
        return True


def finish(process: subprocess.Popen[str], seconds: float = PATIENCE) -> tuple[int, str, str]:
    """Exit code, standard output and error of a process that is about to end."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def terminate(process: subprocess.Popen[str], *signals: int) -> tuple[int, str, str]:
    """Send signals (SIGTERM if none is given) and wait for the end."""
    for number in signals or (signal.SIGTERM,):
        process.send_signal(number)
    return finish(process)
