"""Databases for measurements: made once, filled once, copied for every measurement, so that each starts the same."""

from __future__ import annotations

import os
import shutil
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

PAST_JOBS = """
INSERT INTO jobqueue_job_history
    (job_id, lease_no, attempt, queue, task, args, priority, outcome, result, error_class, error_message, traceback,
     wait_ms, run_ms, memory_kb, worker_id, enqueued_at, started_at, finished_at)
SELECT {id}, 1, 1, 'default', 'tests.benchmarks.tasks.noop', '{{"args":[1],"kwargs":{{}}}}', 0, 'completed', '', '', '',
       '', 1, 1, 0, NULL, {moment}, {moment}, {moment}
FROM {numbers}
"""
"""Finished rows as a day of work leaves them: ids and times grow together."""


class Store(ABC):
    name: str
    title: str
    durability: str

    @abstractmethod
    def create(self, name: str) -> str:
        """A new, empty database; its address."""

    @abstractmethod
    def copy(self, source: str, name: str) -> str:
        """A copy of database `source`, everything of it on the disk; its address."""

    @abstractmethod
    def drop(self, name: str) -> None: ...

    @abstractmethod
    def run(self, name: str, sql: str) -> None: ...

    @abstractmethod
    def tidy(self, name: str) -> None:
        """Statistics for the planner, as autovacuum would have made them; nobody may be connected afterwards."""

    @abstractmethod
    def past_jobs(self, count: int) -> str:
        """SQL that writes `count` finished rows into our history."""


class Postgres(Store):
    name, title = "postgres", "PostgreSQL"
    durability = "fsync on, synchronous_commit on, full_page_writes on: a commit that returned is on the disk"

    def __init__(self, server: dict[str, str]) -> None:
        self.url = server["url"]
        self.version = server["version"]
        self.admin = psycopg.connect(self.url, autocommit=True)
        off = [row for row in self._durable_settings() if row[1] != "on"]
        assert not off, f"these must be on: {off}"

    def _durable_settings(self) -> list[tuple[str, str]]:
        names = ("fsync", "synchronous_commit", "full_page_writes")
        sql = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
        return self.admin.execute(sql, [list(names)]).fetchall()

    def address(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def create(self, name: str) -> str:
        self.admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.address(name)

    def copy(self, source: str, name: str) -> str:
        # FILE_COPY: a copy through the WAL would leave the first measured job a full checkpoint to write
        strategy = "STRATEGY file_copy" if self.admin.info.server_version >= 150000 else ""
        self.admin.execute(f"CREATE DATABASE {name} TEMPLATE {source} {strategy}")
        self.admin.execute("CHECKPOINT")
        return self.address(name)

    def drop(self, name: str) -> None:
        self.admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, name: str, sql: str) -> None:
        with psycopg.connect(self.address(name), autocommit=True) as connection:
            connection.execute(sql)

    def tidy(self, name: str) -> None:
        self.run(name, "VACUUM ANALYZE")

    def past_jobs(self, count: int) -> str:
        return PAST_JOBS.format(
            id="('0190' || lpad(to_hex(n), 8, '0') || '70008000000000000000')::uuid",
            moment=f"now() - interval '1 day' + n * interval '{86_400 / count} s'",
            numbers=f"generate_series(1, {count}) AS n",
        )

    # counting

    def wal_position(self) -> int:
        """Bytes of WAL written since the server was made."""
        return int(self.admin.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()[0])

    def set_full_page_writes(self, on: bool) -> None:
        """Off while WAL is counted: whole pages are written once per checkpoint, which says nothing about a job."""
        self.admin.execute(f"ALTER SYSTEM SET full_page_writes = {'on' if on else 'off'}")
        self.admin.execute("SELECT pg_reload_conf()")
        self.admin.execute("CHECKPOINT")


class SQLite(Store):
    name, title = "sqlite", "SQLite"
    durability = "WAL, synchronous NORMAL: the last commits may be lost with the power, never the database"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version = f"SQLite {sqlite3.sqlite_version}"

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.sqlite3"

    def create(self, name: str) -> str:
        return str(self.file(name))

    def copy(self, source: str, name: str) -> str:
        copy = shutil.copyfile(self.file(source), self.file(name))
        with copy.open("rb+") as file:  # or the first checkpoint that is measured writes all of it
            os.fsync(file.fileno())
        return str(copy)

    def drop(self, name: str) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self.file(name)}{end}").unlink(missing_ok=True)

    def run(self, name: str, sql: str) -> None:
        connection = sqlite3.connect(self.file(name), isolation_level=None)
        connection.execute(sql)
        connection.close()

    def tidy(self, name: str) -> None:
        self.run(name, "ANALYZE")
        self.run(name, "PRAGMA wal_checkpoint(TRUNCATE)")

    def past_jobs(self, count: int) -> str:
        numbers = f"WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {count}) SELECT n FROM t"
        return PAST_JOBS.format(
            id="'0190' || printf('%08x', n) || '70008000000000000000'",
            moment=f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day', '+' || (n * {86_400 / count}) || ' seconds')",
            numbers=f"({numbers})",
        )
