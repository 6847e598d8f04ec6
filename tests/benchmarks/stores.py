"""Stores for measurements: made once, filled once, copied for every measurement, so that each starts the same."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pymysql

from tests.benchmarks import clocks

PAST_JOBS = """
INSERT INTO jobqueue_job_history
    (job_id, lease_no, attempt, queue, task, args, priority, outcome, result, error_class, error_message, traceback,
     wait_ms, run_ms, memory_kb, worker_id, enqueued_at, started_at, finished_at)
SELECT {id}, 1, 1, 'default', 'tests.benchmarks.tasks.noop', '{{"args":[1],"kwargs":{{}}}}', 0, 'completed', '', '', '',
       '', 1, 1, 0, NULL, {moment}, {moment}, {moment}
FROM {numbers}
"""
"""Finished rows as a day of work leaves them: ids and times grow together."""
_numbers = itertools.count()


class Store(ABC):
    name: str
    title: str
    durability: str
    pid: int = 0
    """Of its server; 0 when it has none."""

    @abstractmethod
    def create(self, name: str) -> str:
        """A new, empty database; its address."""

    @abstractmethod
    def copy(self, source: str, name: str) -> str:
        """A copy of database `source`, everything of it on the disk; its address."""

    @abstractmethod
    def drop(self, name: str) -> None: ...

    @abstractmethod
    def asking(self, address: str) -> AbstractContextManager[Callable[[str], list[Any]]]:
        """One connection, on which SQL gives rows; on Redis, names of keys give those that are there."""

    def rows(self, address: str, what: str) -> list[Any]:
        with self.asking(address) as ask:
            return ask(what)

    @abstractmethod
    def tidy(self, name: str) -> None:
        """Statistics for the planner, as autovacuum would have made them; nobody may be connected afterwards."""

    @contextmanager
    def copied(self, source: str) -> Iterator[str]:
        """A copy that is gone afterwards; its address. The disk has ended what it was told before.

        A drain just after a large copy took 1.3 times as long, at the same CPU: its commits stood behind these pages.
        """
        name = f"bench_copy_{next(_numbers)}"
        try:
            address = self.copy(source, name)
            os.sync()
            yield address
        finally:
            self.drop(name)


class Database(Store):
    @abstractmethod
    def run(self, name: str, sql: str) -> None: ...

    @abstractmethod
    def past_jobs(self, count: int) -> str:
        """SQL that writes `count` finished rows into our history."""


class Postgres(Database):
    name, title = "postgres", "PostgreSQL"
    durability = "fsync on, synchronous_commit on, full_page_writes on: a commit that returned is on the disk"

    def __init__(self, server: dict[str, str]) -> None:
        self.url = server["url"]
        self.version = server["version"]
        self.admin = psycopg.connect(self.url, autocommit=True)
        self.pid = clocks.parent(self.admin.info.backend_pid)
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

    @contextmanager
    def asking(self, address: str) -> Iterator[Callable[[str], list[Any]]]:
        with psycopg.connect(address, autocommit=True) as connection:
            yield lambda sql: connection.execute(sql).fetchall()

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


class SQLite(Database):
    name, title = "sqlite", "SQLite"
    durability = "WAL, synchronous NORMAL: the last commits may be lost with the power, never the database"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version = f"SQLite {sqlite3.sqlite_version}"

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.sqlite3"

    def create(self, name: str) -> str:
        self.file(name).touch()
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
        with closing(sqlite3.connect(self.file(name), isolation_level=None)) as connection:
            connection.execute(sql)

    @contextmanager
    def asking(self, address: str) -> Iterator[Callable[[str], list[Any]]]:
        with closing(sqlite3.connect(address, timeout=30)) as connection:
            yield lambda sql: connection.execute(sql).fetchall()

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


class MariaDB(Database):
    name, title = "mariadb", "MariaDB"
    durability = "innodb_flush_log_at_trx_commit 1, doublewrite on: a commit that returned is on the disk"

    def __init__(self, server: dict[str, str]) -> None:
        self.url, self.version = server["url"], server["version"]
        self.admin = self._connect("")
        self.pid = int(Path(self._ask(self.admin, "SELECT @@pid_file")[0][0]).read_text())
        setting = self._ask(self.admin, "SELECT @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite")[0]
        assert [str(one) for one in setting] in (["1", "1"], ["1", "ON"]), setting

    def _connect(self, name: str) -> pymysql.Connection:
        socket = parse_qs(urlsplit(self.url).query)["unix_socket"][0]
        return pymysql.connect(unix_socket=socket, user="root", database=name or None, autocommit=True)

    def _ask(self, connection: pymysql.Connection, sql: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def create(self, name: str) -> str:
        self._ask(self.admin, f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def copy(self, source: str, name: str) -> str:
        """Table by table: there is no template here. Foreign keys stay behind; our live tables have none."""
        address = self.create(name)
        for (table,) in self._ask(self.admin, f"SHOW TABLES FROM {source}"):
            self._ask(self.admin, f"CREATE TABLE {name}.{table} LIKE {source}.{table}")
            self._ask(self.admin, f"INSERT INTO {name}.{table} SELECT * FROM {source}.{table}")
        self.tidy(name)
        return address

    def drop(self, name: str) -> None:
        self._ask(self.admin, f"DROP DATABASE IF EXISTS {name}")

    def run(self, name: str, sql: str) -> None:
        with closing(self._connect(name)) as connection:
            self._ask(connection, sql)

    @contextmanager
    def asking(self, address: str) -> Iterator[Callable[[str], list[Any]]]:
        with closing(self._connect(urlsplit(address).path.lstrip("/"))) as connection:
            yield partial(self._ask, connection)

    def tidy(self, name: str) -> None:
        if tables := [f"{name}.{table}" for (table,) in self._ask(self.admin, f"SHOW TABLES FROM {name}")]:
            self._ask(self.admin, f"ANALYZE TABLE {', '.join(tables)}")

    def past_jobs(self, count: int) -> str:
        return PAST_JOBS.format(
            id="concat('0190', lpad(hex(seq), 8, '0'), '70008000000000000000')",
            moment=f"now(6) - interval 1 day + interval (seq * {86_400 / count}) second",
            numbers=f"seq_1_to_{count}",
        )
