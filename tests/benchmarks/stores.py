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

from tests.benchmarks import clocks, crowds

_numbers = itertools.count()
LARGE = 50_000_000
"""Bytes of a table."""


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

    def pages(self, address: str) -> int:
        """How many its processes have looked at that have ended; 0 where nothing counts them."""
        return 0

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
    dialect: crowds.Dialect

    @abstractmethod
    def run(self, name: str, sql: str) -> None: ...

    def crowd(self, name: str, kind: str, count: int) -> None:
        """Add so many of a kind that crowds.py knows."""
        for statement in crowds.statements(self.dialect, kind, count):
            self.run(name, statement)


class Postgres(Database):
    name, title = "postgres", "PostgreSQL"
    dialect = crowds.POSTGRES
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

    # counting

    def pages(self, address: str) -> int:
        sql = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
        return int(self.rows(address, sql)[0][0])

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
    dialect = crowds.SQLITE
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


class MariaDB(Database):
    name, title = "mariadb", "MariaDB"
    dialect = crowds.MARIADB
    durability = "innodb_flush_log_at_trx_commit 1, doublewrite on: a commit that returned is on the disk"

    def __init__(self, server: dict[str, str]) -> None:
        self.url, self.version = server["url"], server["version"]
        self.admin = self._connect("")
        self.pid = int(Path(self._ask(self.admin, "SELECT @@pid_file")[0][0]).read_text())
        self.directory = Path(self._ask(self.admin, "SELECT @@datadir")[0][0])
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
            if (self.directory / source / f"{table}.ibd").stat().st_size > LARGE:
                self._copy_file(source, name, table)
            else:
                self._ask(self.admin, f"INSERT INTO {name}.{table} SELECT * FROM {source}.{table}")
        self.tidy(name)
        return address

    def _copy_file(self, source: str, name: str, table: str) -> None:
        """Five million rows take minutes by INSERT."""
        self._ask(self.admin, f"ALTER TABLE {name}.{table} DISCARD TABLESPACE")
        self._ask(self.admin, f"FLUSH TABLES {source}.{table} FOR EXPORT")
        for end in (".ibd", ".cfg"):
            original, copy = (self.directory / one / f"{table}{end}" for one in (source, name))
            shutil.copyfile(original, copy)
            os.chown(copy, original.stat().st_uid, original.stat().st_gid)  # the server may be another user
        self._ask(self.admin, "UNLOCK TABLES")
        self._ask(self.admin, f"ALTER TABLE {name}.{table} IMPORT TABLESPACE")

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
