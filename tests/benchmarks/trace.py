"""Counts round trips: libpq itself writes down every message of a connection."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

_numbers = itertools.count()


def directory() -> str:
    return os.environ.get("BENCH_TRACE", "")


def begin(pgconn: Any) -> None:
    """Trace a psycopg connection into a file of its own, where the environment asks for it."""
    if not directory():
        return
    file = Path(directory(), f"{os.getpid()}-{next(_numbers)}.trace")
    pgconn.trace(os.open(file, os.O_CREAT | os.O_WRONLY))  # libpq flushes it when the connection closes


def round_trips(path: Path) -> int:
    """The server says ReadyForQuery once per round trip."""
    return sum(file.read_text().count("\tReadyForQuery\t") for file in path.glob("*.trace"))
