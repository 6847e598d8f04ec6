"""Starts what is measured: every system in processes of its own, bounded in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.environments import ROOT, python_of
from tests.benchmarks.systems.base import Setup, System, environment

TIMEOUT = 300.0
"""Seconds; filling a store with a million jobs is the longest."""


class Failed(Exception):
    """A measured process did not end well; the message has its last words."""


class Running:
    """A child process, its output kept for the case that it fails."""

    def __init__(self, python: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        self.command = command
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", "tests.benchmarks.program", *command],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def output(self) -> str:
        try:
            out, err = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise Failed(f"{' '.join(self.command)} took more than {TIMEOUT:.0f} s: {err[-2000:]}") from None
        if self.process.returncode:
            raise Failed(f"{' '.join(self.command)} ended with {self.process.returncode}: {(out + err)[-2000:]}")
        return out


@dataclass(frozen=True, slots=True)
class Place:
    """A system and where its jobs are: its processes are started here."""

    system: System
    address: str
    database: str = ""

    def start(self, *arguments: str, record: Path | None = None, trace: Path | None = None, **more: str) -> Running:
        """`record` and `trace`: where it writes its starts, and its messages to the store."""
        told = {"BENCH_RECORD": str(record or ""), "BENCH_TRACE": str(trace or ""), **more}
        python = python_of(self.system.name, self.system.packages)
        return Running(python, arguments, environment(self.system, self.address, self.database) | told)

    def workers(self, setup: Setup, **where: Any) -> list[Running]:
        one = ("work", *setup.options)
        return [self.start(*one, **where, **dict(setup.environment)) for _ in range(setup.workers)]

    def prepare(self) -> None:
        self.start("prepare").output()

    def produce(self, how: str, jobs: int, *options: str, **where: Any) -> dict[str, Any]:
        return json.loads(self.start(how, str(jobs), *options, **where).output())


@contextmanager
def alive(workers: Sequence[Running]) -> Iterator[None]:
    """These work while the block runs, and are told to stop then; their records are there afterwards."""
    try:
        yield
    except BaseException:
        for worker in workers:
            worker.process.kill()
            worker.process.communicate()
        raise
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.output()
