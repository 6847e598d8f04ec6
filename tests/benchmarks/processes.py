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

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.output()


def program(module: str, *arguments: str, trace: Path | None = None) -> dict[str, Any]:
    """Run a module that prints one line of JSON."""
    environment = {"BENCH_TRACE": str(trace)} if trace else {}
    return json.loads(Running(["-m", module, *arguments], environment).output())


def manage(
    system: System, database: str, *arguments: str, record: Path | None = None, trace: Path | None = None
) -> Running:
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        "BENCH_SYSTEM": system.name,
        "BENCH_DATABASE": database,
        **({"BENCH_RECORD": str(record)} if record else {}),
        **({"BENCH_TRACE": str(trace)} if trace else {}),
    }
    return Running(["-m", "django", *arguments], environment)


def produce(
    system: System, database: str, how: str, jobs: int, *options: str, trace: Path | None = None
) -> dict[str, Any]:
    return json.loads(manage(system, database, "bench_produce", how, str(jobs), *options, trace=trace).output())


@contextmanager
def serving(system: System, database: str, record: Path) -> Iterator[None]:
    """A worker that waits for jobs while the block runs; its record is there afterwards."""
    worker = manage(system, database, *system.serve, record=record)
    try:
        yield
    except BaseException:
        worker.process.kill()
        worker.process.communicate()
        raise
    worker.stop()
