"""Servers for one test, which may kill them: what they acknowledged is on the disk, and they come back with it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from tests.servers import mariadb, postgres, redis
from tests.servers.redis import find_redis
from tests.servers.rooms import Account, Room

_numbers = itertools.count()

# Becomes the server; its child takes the server with it when standard input ends. So a test that was killed itself
# leaves no server behind.
GUARD = """exec 3<&0; {{ read line <&3; kill -{signal} $$; }} & exec "$@" </dev/null 3<&-"""


class Durable(ABC):
    """with DurableRedis() as server: ... server.kill() ... server.start()"""

    name: str
    end_signal = "KILL"
    """What ends it at once, and its own children with it."""

    def __init__(self, account: Account | None = None, directory: Path | None = None) -> None:
        # below the keeper's directory, unless told otherwise: it goes with it at the latest
        parent = directory or Path(os.environ["JOBQUEUE_TEST_DIR"])
        self._room = Room(parent / f"{self.name}-{os.getpid()}-{next(_numbers)}", account or Account(), durable=True)
        self._process: subprocess.Popen | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def socket(self) -> Path: ...

    @abstractmethod
    def _serve(self, **how: Any) -> subprocess.Popen: ...

    def start(self) -> None:
        """On the same directory and address; returns when it answers."""
        assert self._process is None, "it runs"
        guard = GUARD.format(signal=self.end_signal)
        self._process = self._serve(guard=["sh", "-c", guard, "sh"], stdin=subprocess.PIPE)

    def kill(self) -> None:
        """At once, nothing tidied up; returns when it is dead."""
        assert self._process is not None, "it does not run"
        self._process.stdin.close()
        self._process.wait(20)
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self.kill()
        shutil.rmtree(self._room.path, ignore_errors=True)


class DurableRedis(Durable):
    """A Valkey or Redis with an append-only file, synced before each answer (`always`) or every second (`everysec`)."""

    name = "redis"

    def __init__(self, fsync: str = "always", binary: Path | None = None, directory: Path | None = None) -> None:
        super().__init__(directory=directory)
        self._binary = binary or find_redis()
        self._log = f"--appendonly yes --appendfsync {fsync}"

    @property
    def url(self) -> str:
        return redis.url(self._room)

    @property
    def socket(self) -> Path:
        return self._room.path / redis.SOCKET

    def _serve(self, **how: Any) -> subprocess.Popen:
        return redis.serve(self._room, self._binary, self._log, **how)


class DurablePostgres(Durable):
    """A PostgreSQL whose commits are on the disk; `kill` is its immediate shutdown."""

    name, end_signal = "postgres", "QUIT"

    def __init__(self, directory: Path) -> None:
        """`directory` may be walked through by the account that servers run as."""
        super().__init__(Account.for_servers(), directory)
        self._command, self.version = postgres.prepare(self._room)

    @property
    def url(self) -> str:
        return postgres.url(self._room)

    @property
    def socket(self) -> Path:
        return self._room.path / ".s.PGSQL.5432"

    def _serve(self, **how: Any) -> subprocess.Popen:
        return postgres.serve(self._room, self._command, **how)


class DurableMariaDB(Durable):
    """A MariaDB whose commits are on the disk."""

    name = "mariadb"

    def __init__(self, directory: Path) -> None:
        """`directory` may be walked through by the account that servers run as."""
        super().__init__(Account.for_servers(), directory)
        self._command, self.version = mariadb.prepare(self._room)

    @property
    def url(self) -> str:
        return mariadb.url(self._room)

    @property
    def socket(self) -> Path:
        return self._room.path / mariadb.SOCKET

    def _serve(self, **how: Any) -> subprocess.Popen:
        return mariadb.serve(self._room, self._command, **how)
