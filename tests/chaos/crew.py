"""The workers and producers of a run: started, and started again when the nemesis has taken one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import proc
from tests.crash.ledger import acknowledged

READY_SECONDS = 30.0
PLACE = "JOBQUEUE_TEST_DIR"


class Actor:
    """A process with a place of its own: whoever dies is followed by another one."""

    def __init__(self, name: str, directory: Path, env: dict[str, str]) -> None:
        self.name = name
        self.directory = directory
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.is_frozen = False
        self.expected: set[int] = set()
        """What its present process may end with: set by whoever sends it a signal."""

    def command(self) -> list[str] | None:
        """None when there is nothing left to do."""
        raise NotImplementedError

    def start(self) -> bool:
        if (command := self.command()) is None:
            return False
        with (self.directory / f"{self.name}.out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self.started_at, self.is_frozen, self.expected = time.time(), False, set()
        return True

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def last_words(self) -> str:
        return " / ".join((self.directory / f"{self.name}.out").read_text(errors="replace").splitlines()[-4:])

    def send(self, number: int) -> None:
        if self.is_alive:
            os.kill(self.pid, number)


class Worker(Actor):
    """`queue_work` with so many children; 0: it runs the jobs itself."""

    def __init__(
        self, name: str, directory: Path, env: dict[str, str], alias: str, processes: int, *options: str
    ) -> None:
        super().__init__(name, directory, env)
        self.alias, self.processes, self.options = alias, processes, options
        self.family: set[int] = set()
        """Everybody who was ever seen in it."""

    def command(self) -> list[str]:
        return ["django", "queue_work", "--backend", self.alias, "--processes", str(self.processes), *self.options]

    def wait_for_handler(self) -> None:
        """Until it would handle SIGTERM: one that was started a moment ago is still Python's."""
        deadline = time.monotonic() + READY_SECONDS
        while not _catches_term(self.pid) and self.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)

    def children(self) -> list[int]:
        """Those that run jobs, and the heart."""
        found = proc.children(self.pid)
        self.family.update(found)
        return found


class Producer(Actor):
    def __init__(
        self, name: str, directory: Path, env: dict[str, str], alias: str, jobs: int, rate: float, over: Path
    ) -> None:
        super().__init__(name, directory, env)
        self.alias, self.jobs, self.rate, self.over = alias, jobs, rate, over
        self.lives = 0

    @property
    def ledger(self) -> Path:
        return self.directory / f"{self.name}.ledger"

    def command(self) -> list[str] | None:
        left = self.jobs - len(acknowledged(self.ledger))
        self.lives += 1
        seed = f"{self.name}-{self.lives}-{self.env['JOBQUEUE_CHAOS_SEED']}"
        what = [self.alias, str(self.ledger), str(left), str(self.rate), seed, str(self.over)]
        return ["tests.chaos.producer", *what] if left > 0 or not self.over.exists() else None


class Crew:
    """All of them. `problems`: processes that ended in a way nobody asked for."""

    def __init__(self, workers: list[Worker], producers: list[Producer]) -> None:
        self.workers = workers
        self.producers = producers
        self.problems: list[str] = []
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="chaos-crew", daemon=True)

    def start(self) -> None:
        for actor in (*self.workers, *self.producers):
            actor.start()
        self._tender.start()

    def _tend(self) -> None:
        while not self._stop.wait(0.02):
            with self._lock:
                for actor in (*self.workers, *self.producers):
                    if not actor.is_alive and actor.process is not None:
                        self._follow(actor)

    def _follow(self, actor: Actor) -> None:
        code = actor.process.returncode
        is_done = isinstance(actor, Producer) and code == 0
        if code not in actor.expected and not is_done:
            self.problems.append(f"{actor.name} ended with {code}: {actor.last_words()}")
        if not actor.start():
            actor.process = None

    def lock(self) -> Any:
        """Held by whoever sends a signal: nobody is replaced in between."""
        return self._lock

    @property
    def is_producing(self) -> bool:
        return any(producer.process is not None for producer in self.producers)

    def dismiss(self, grace: float) -> None:
        """SIGTERM for all workers: each must end well, within the grace."""
        self._stop.set()
        self._tender.join()
        for worker in self.workers:
            worker.send(signal.SIGCONT)
            worker.wait_for_handler()
            worker.send(signal.SIGTERM)
        for worker in self.workers:
            try:
                code = worker.process.wait(grace)
            except subprocess.TimeoutExpired:
                code = "no exit"
            if code != 0:
                self.problems.append(f"{worker.name} ended with {code} after SIGTERM: {worker.last_words()}")
        self._look_for_orphans(grace)
        self.destroy()

    def _look_for_orphans(self, patience: float) -> None:
        """Children of parents that were killed: they drain, and end."""
        deadline = time.monotonic() + patience
        while (left := self._orphans()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            self.problems.append(f"processes {left} have outlived their parents")

    def _orphans(self) -> list[int]:
        family = {pid for worker in self.workers for pid in worker.family}
        return sorted(pid for pid in family if "queue_work" in proc.read(pid, "cmdline") and self._is_ours(pid))

    def _is_ours(self, pid: int) -> bool:
        """A number may have gone to somebody else since: it is the run's directory that tells."""
        return f"{PLACE}={self.workers[0].env[PLACE]}" in proc.read(pid, "environ").split("\0")

    def destroy(self) -> None:
        self._stop.set()
        for actor in (*self.workers, *self.producers):
            if actor.is_alive:
                actor.send(signal.SIGCONT)
                actor.process.kill()
                actor.process.wait()
        for pid in self._orphans():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _catches_term(pid: int) -> bool:
    caught = re.search(r"^SigCgt:\s*(\w+)", proc.read(pid, "status"), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
