"""The Redis server of the measurements. Its databases have numbers: each name gets one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.benchmarks.stores import Store

DATABASES = 64  # of the server, see tests/servers/redis.py
CHUNK = 1_000


class RedisServer(Store):
    name, title = "redis", "Redis"
    durability = (
        "append-only file, synced every second: the last second may be lost with the power. "
        "The file is rewritten between measurements, not during one"
    )

    def __init__(self, server: dict[str, str]) -> None:
        self.url, self.version = server["url"], server["version"]
        self._admin = redis.Redis.from_url(f"{self.url}?db=0")
        settings = self._admin.config_get("append*", "auto-aof*")
        assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec"), settings
        self.pid = int(self._admin.info("server")["process_id"])
        self._admin.config_set("auto-aof-rewrite-percentage", 0)
        self._free = list(range(1, DATABASES))
        self._numbers: dict[str, int] = {}

    def _address(self, name: str) -> str:
        return f"{self.url}?db={self._numbers[name]}"

    def create(self, name: str) -> str:
        self._numbers[name] = self._free.pop()
        return self._address(name)

    def copy(self, source: str, name: str) -> str:
        address = self.create(name)
        with redis.Redis.from_url(self._address(source)) as original:
            copy_keys(original, self._numbers[name])
        self.tidy(name)
        return address

    def drop(self, name: str) -> None:
        with redis.Redis.from_url(self._address(name)) as client:
            client.flushdb()
        self._free.append(self._numbers.pop(name))

    @contextmanager
    def asking(self, address: str) -> Iterator[Callable[[str], list[Any]]]:
        with redis.Redis.from_url(address) as client:
            yield lambda keys: [key for key in keys.split() if client.exists(key)]

    def tidy(self, name: str) -> None:
        """Write the append-only file anew and wait for it, so that no measurement pays for the one before."""
        self._admin.bgrewriteaof()
        while any(self._admin.info("persistence")[name] for name in REWRITING):
            time.sleep(0.01)

    def info(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self._admin.info()

    def used_memory(self) -> int:
        return int(self._admin.info("memory")["used_memory"])


REWRITING = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")


def copy_keys(original: redis.Redis, number: int) -> None:
    keys = original.scan_iter(count=CHUNK)
    while chunk := list(itertools.islice(keys, CHUNK)):
        pipeline = original.pipeline(transaction=False)
        for key in chunk:
            pipeline.copy(key, key, destination_db=number)
        pipeline.execute()
