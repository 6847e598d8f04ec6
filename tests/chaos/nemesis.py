"""The nemesis: breaks one thing after the other, and keeps a record of what it has really broken.

A fault has landed when it met something: a worker in the middle of its work, a connection that was open. One that met
nothing is tried again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.crew import Crew, Worker
from tests.chaos.plan import Plan
from tests.chaos.stores import Store

TRIES = 4
PATIENCE = 15.0
"""Seconds to wait for somebody to break."""
BUSY_SECONDS = 0.5
"""A worker that has written a line in the last so many seconds is at work."""
CHOOSY_SECONDS = 0.3
"""How long to wait for one that is in the middle of a job."""


class Target(NamedTuple):
    """A process that runs jobs, the command it belongs to, and that one's heart (0: it has none)."""

    worker: Worker
    pid: int
    heart: int

    @property
    def is_child(self) -> bool:
        return self.pid != self.worker.pid


class Nemesis:
    def __init__(self, plan: Plan, store: Store, crew: Crew, log: Path, record: Path, over: Path) -> None:
        self.plan, self.store, self.crew = plan, store, crew
        self.landed: Counter[str] = Counter()
        self.outages: list[tuple[float, float]] = []
        """When the store was away for all: from, to."""
        self._log, self._record, self.over = log, record, over
        self._rng = random.Random(plan.seed + 1)
        self._later: list[threading.Timer] = []
        self._seen: set[int] = set()
        self._beaters: set[int] = set()
        self._lock = threading.Lock()

    def run(self, say: Callable[[str], None]) -> None:
        for number, kind in enumerate(self.plan.schedule(), 1):
            begun = time.monotonic()
            if not any(self._strike(kind) for _ in range(TRIES)):
                self._write({"missed": kind})
            if number % 100 == 0:
                say(f"{number} faults")
            time.sleep(max(0.0, self._rng.uniform(0.5, 1.5) * self.plan.pace - (time.monotonic() - begun)))
        self.over.touch()
        for timer in self._later:
            timer.join()

    def _strike(self, kind: str) -> bool:
        return bool(getattr(self, f"_{kind}")())

    def _note(self, kind: str, **more: Any) -> None:
        self._write({"kind": kind, **more})
        self.landed[kind] += 1

    def _write(self, fault: dict[str, Any]) -> None:
        with self._lock, self._record.open("a") as record:
            record.write(json.dumps({"time": time.time(), **fault}) + "\n")

    # -- processes -----------------------------------------------------------------------------------------------------

    def _kill(self) -> bool:
        """A child of a supervisor."""
        return self._kill_one("kill", lambda target: target.is_child)

    def _kill_alone(self) -> bool:
        """A worker without a parent: nobody but the end of its lease tells of its death."""
        return self._kill_one("kill_alone", lambda target: not target.is_child)

    def _kill_parent(self) -> bool:
        """Its children are left alone in the middle of their jobs."""
        return self._kill_one("kill_parent", lambda target: target.is_child, lambda target: target.worker.pid)

    def _kill_heart(self) -> bool:
        return self._kill_one("kill_heart", lambda target: target.heart > 0, lambda target: target.heart)

    def _kill_one(
        self,
        kind: str,
        suits: Callable[[Target], bool],
        victim: Callable[[Target], int] = lambda target: target.pid,
    ) -> bool:
        with self._at_work(suits) as target:
            if target is None:
                return False
            pid = victim(target)
            moment = time.time()  # before it: whatever is seen of this process later was done before the end
            if pid == target.worker.pid:
                target.worker.expected.add(-signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            self._note(kind, pid=pid, killed=moment)
            return True

    def _term(self) -> bool:
        with self._at_work() as target:
            if target is not None:
                target.worker.expected.add(0)
                target.worker.send(signal.SIGTERM)
                self._note("term", pid=target.worker.pid)
            return target is not None

    def _freeze(self) -> bool:
        """One process, or all of a supervisor's: a host that stands still."""
        return self._stop_for("freeze", self.plan.lease * self._rng.uniform(1.4, 2.2))

    def _pause(self) -> bool:
        return self._stop_for("pause", self.plan.lease * self._rng.uniform(0.2, 0.6))

    def _stop_for(self, kind: str, seconds: float) -> bool:
        """SIGCONT comes by itself."""
        with self._at_work() as target:
            if target is None:
                return False
            worker = target.worker
            pids = [target.pid] if self._rng.random() < 0.5 else [worker.pid, *worker.children()]
            worker.is_frozen = True
            send_all(pids, signal.SIGSTOP)
            begun = time.time()

        def resume() -> None:
            with self.crew.lock():
                send_all(pids, signal.SIGCONT)
                worker.is_frozen = False
                self._note(kind, pids=pids, begun=begun, ended=time.time())

        timer = threading.Timer(seconds, resume)
        self._later.append(timer)
        timer.start()
        return True

    def _kill_producer(self) -> bool:
        with self.crew.lock():
            alive = [one for one in self.crew.producers if one.is_alive and time.time() - one.started_at > 1]
            if not alive:
                return False
            producer = self._rng.choice(alive)
            producer.expected.add(-signal.SIGKILL)
            producer.send(signal.SIGKILL)
            self._note("kill_producer", pid=producer.pid)
            return True

    @contextmanager
    def _at_work(self, suits: Callable[[Target], bool] = lambda target: True) -> Iterator[Target | None]:
        """A process in the middle of a job, else one that works, else None. Nobody is replaced meanwhile.

        Another one must be left: where none is ever up for long, nothing is interrupted.
        """
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < PATIENCE:
            with self.crew.lock():
                last = self._last_words()
                self._seen |= last.keys()
                able = self._able()
                busy = [one for one in able if one.pid in last and suits(one)]
                in_a_job = [one for one in busy if last[one.pid] == b"start"]
                if len(able) > 1 and (in_a_job or (busy and waited > CHOOSY_SECONDS)):
                    yield self._rng.choice(in_a_job or busy)
                    return
            time.sleep(0.003)
        yield None

    def _able(self) -> list[Target]:
        """The processes that have run jobs and may go on to."""
        found = []
        for worker in self.crew.workers:
            if worker.is_alive and not worker.is_frozen and not worker.expected:
                kin = [worker.pid, *worker.children()]
                heart = next((pid for pid in kin if pid in self._beaters and pid not in self._seen), 0)
                found += [Target(worker, pid, heart) for pid in kin if pid in self._seen]
        return found

    def _last_words(self) -> dict[int, bytes]:
        """Of every process that has lately begun or ended a job: which of both. From the end of the log."""
        if not self._log.exists():
            return {}
        with self._log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 8_000))
            lines = log.read().split(b"\n")[1:-1]
        since = time.time() - BUSY_SECONDS
        self._beaters |= {int(line.split()[-2]) for line in lines if line.startswith(b"beat")}
        rows = [line.split() for line in lines if line.startswith((b"start", b"end"))]
        return {int(row[-2]): row[0] for row in rows if float(row[-1]) > since}

    # -- the store -----------------------------------------------------------------------------------------------------

    def _cut(self) -> bool:
        return self._met("cut", self.store.cut())

    def _restart(self) -> bool:
        with self._outage():
            self.store.restart()
        self._note("restart")
        return True

    def _flush(self) -> bool:
        return self._met("flush", self.store.flush())

    def _hog(self) -> bool:
        with self._outage():
            return self._met("hog", self.store.hog(self.plan.lease * self._rng.uniform(0.3, 1.2)))

    def _freeze_store(self) -> bool:
        with self._outage():
            self.store.freeze(self.plan.lease * self._rng.uniform(1.1, 1.6))
        self._note("freeze_store")
        return True

    # -- the network ---------------------------------------------------------------------------------------------------

    def _delay(self) -> bool:
        self.store.proxy.slow_down(self._rng.uniform(0.05, 0.3))
        return self._healed("delay", 1.0)

    def _silence(self) -> bool:
        with self._outage():
            self.store.proxy.go_silent()
            return self._healed("silence", self.plan.lease * self._rng.uniform(1.1, 1.6))

    def _reset(self) -> bool:
        self.store.proxy.reset()
        return self._met("reset", self.store.proxy.touched)

    def _swallow(self) -> bool:
        self.store.proxy.swallow_replies(self._rng.randint(1, 4))
        return self._healed("swallow", 0.8)

    def _healed(self, kind: str, seconds: float) -> bool:
        time.sleep(seconds)
        touched = self.store.proxy.touched
        self.store.proxy.heal()
        return self._met(kind, touched)

    def _met(self, kind: str, count: int) -> bool:
        if count:
            self._note(kind, met=count)
        return bool(count)

    @contextmanager
    def _outage(self) -> Iterator[None]:
        begun = time.time()
        yield
        self.outages.append((begun, time.time()))


def send_all(pids: Sequence[int], number: int) -> None:
    """To those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
