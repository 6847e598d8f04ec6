"""The store of a run: its server, the proxy in front of it, and the faults that only this store knows.

The harness itself talks to the server directly; workers and producers go through the proxy.
"""

from __future__ import annotations

import os
import sqlite3
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg
import pymysql
from redis import Redis

from tests import servers
from tests.chaos.proxy import Proxy


class Store:
    """`alias`: its key in TASKS. `urls` in the environment are what tests/settings.py reads."""

    alias: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def publish(self) -> None:
        """In the environment of this process: where the server is."""

    def child_env(self) -> dict[str, str]:
        """For workers and producers: the way through the proxy."""
        return {}


class SQLite(Store):
    alias = "default"

    def hog(self, seconds: float) -> bool:
        """Hold the write lock."""
        connection = sqlite3.connect(os.environ["JOBQUEUE_TEST_SQLITE"], isolation_level=None, timeout=20)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
        connection.close()
        return True


class ServerStore(Store, ABC):
    server: servers.DurableRedis | servers.DurablePostgres | servers.DurableMariaDB
    writes: bytes
    """What requests look like that change something."""

    @abstractmethod
    def proxied(self, port: int) -> str:
        """The URL of the proxy."""

    @abstractmethod
    def cut(self) -> int:
        """Have the server end all connections but this one; how many there were."""

    def start(self) -> None:
        self.server.start()
        self.proxy = Proxy(self.server.socket, self.writes)
        self.proxy.start()

    def stop(self) -> None:
        self.proxy.stop()
        if self.server._process:
            self.server.kill()

    @property
    def _variable(self) -> str:
        return f"JOBQUEUE_TEST_{self.alias.upper()}_URL"

    def publish(self) -> None:
        os.environ[self._variable] = self.server.url

    def child_env(self) -> dict[str, str]:
        return {self._variable: self.proxied(self.proxy.port)}

    def restart(self) -> bool:
        self.server.kill()
        self.server.start()
        return True


class Postgres(ServerStore):
    alias, writes = "postgres", rb"(?i)commit|insert|update"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = servers.DurablePostgres(directory)

    def proxied(self, port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def cut(self) -> int:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname <> 'postgres'"
            ).fetchall()
        return len(rows)


class MariaDB(ServerStore):
    alias, writes = "mariadb", rb"(?i)commit|insert|update"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = servers.DurableMariaDB(directory)

    def proxied(self, port: int) -> str:
        return f"mysql://root@127.0.0.1:{port}/"

    def cut(self) -> int:
        ended = 0
        connection = pymysql.connect(user="root", unix_socket=str(self.server.socket))
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'"
            )
            for (number,) in cursor.fetchall():
                try:
                    cursor.execute(f"KILL {int(number)}")
                    ended += 1
                except pymysql.OperationalError:  # it went by itself; `pymysql.err` is another module as MySQLdb's
                    pass
        return ended


class RedisStore(ServerStore):
    alias, writes = "redis", rb"(?i)evalsha"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = servers.DurableRedis("always", directory=directory)

    def proxied(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}"

    def _client(self) -> Redis:
        return Redis(unix_socket_path=str(self.server.socket))

    def cut(self) -> int:
        with self._client() as client:
            mine = client.client_id()
            others = [one["id"] for one in client.client_list() if int(one["id"]) != mine]
            return sum(client.client_kill_filter(_id=one) for one in others)

    def flush(self) -> bool:
        with self._client() as client:
            return bool(client.script_flush())

    def freeze(self, seconds: float) -> None:
        self.server.freeze()
        time.sleep(seconds)
        self.server.thaw()


KINDS: dict[str, type[Store]] = {"sqlite": SQLite, "postgres": Postgres, "mariadb": MariaDB, "redis": RedisStore}
