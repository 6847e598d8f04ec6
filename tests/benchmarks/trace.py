"""Counts round trips: libpq itself writes down every message of a connection, redis-py's sends are counted."""

from __future__ import annotations

import atexit
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


def begin_of_django(connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql":
        begin(connection.connection.pgconn)


def count_redis() -> None:
    """Count what redis-py sends from now on: a command is one message, and so is a pipeline."""
    try:
        from redis.connection import AbstractConnection
    except ImportError:  # in the virtualenv of a system that has nothing to do with it
        return
    send, sends = AbstractConnection.send_packed_command, itertools.count()

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        next(sends)
        return send(self, *arguments, **options)

    AbstractConnection.send_packed_command = counted
    file = Path(directory(), f"{os.getpid()}.sends")
    atexit.register(lambda: file.write_text(str(next(sends))))


def round_trips(path: Path) -> int:
    """PostgreSQL says ReadyForQuery once per round trip."""
    sql = sum(file.read_text().count("\tReadyForQuery\t") for file in path.glob("*.trace"))
    return sql + sum(int(file.read_text()) for file in path.glob("*.sends"))
