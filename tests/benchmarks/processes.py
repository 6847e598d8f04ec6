"""Starts what is measured: every system in processes of its own, bounded in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.systems import System

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120.0


class Failed(Exception):
    """A measured process did not end well; the message has its last words."""


class Running:
    """A child process, its output kept for the case that it fails."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.command = command
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
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


def start(
    module: str, *arguments: str, redis: str = "", record: Path | None = None, trace: Path | None = None, **env: str
) -> Running:
    """Run a module. `record` and `trace`: where it writes its starts, and its messages to the store."""
    told = {"BENCH_REDIS": redis, "BENCH_RECORD": str(record or ""), "BENCH_TRACE": str(trace or "")}
    return Running(["-m", module, *arguments], env | {name: value for name, value in told.items() if value})


def program(module: str, *arguments: str, **where: Any) -> dict[str, Any]:
    """Run a module that prints one line of JSON."""
    return json.loads(start(module, *arguments, **where).output())


def manage(system: System, database: str, *arguments: str, **where: Any) -> Running:
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        "BENCH_SYSTEM": system.name,
        "BENCH_DATABASE": database,
    }
    return start("django", *arguments, **env, **where)


def produce(system: System, database: str, how: str, jobs: int, *options: str, **where: Any) -> dict[str, Any]:
    return json.loads(manage(system, database, "bench_produce", how, str(jobs), *options, **where).output())


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
