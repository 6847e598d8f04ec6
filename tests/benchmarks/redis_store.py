"""The Redis server of the measurements: numbered databases, filled once, copied for every measurement."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

DATABASES = 64  # of the server, see tests/servers/redis.py
CHUNK = 1_000


class RedisServer:
    durability = (
        "append-only file, synced every second: the last second may be lost with the power. "
        "The file is rewritten between measurements, not during one"
    )

    def __init__(self, server: dict[str, str]) -> None:
        self.url, self.version = server["url"], server["version"]
        self._admin = self._client(0)
        settings = self._admin.config_get("append*", "auto-aof*")
        assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec"), settings
        self._admin.config_set("auto-aof-rewrite-percentage", 0)
        self._kept = itertools.count(1)
        self._scratch = DATABASES - 1

    def _client(self, number: int) -> redis.Redis:
        return redis.Redis.from_url(self.address(number))

    def address(self, number: int) -> str:
        return f"{self.url}?db={number}"

    def keep(self) -> str:
        """A database for the whole run; its address."""
        return self.address(next(self._kept))

    @contextmanager
    def copied(self, source: str | None = None) -> Iterator[str]:
        """A database with the keys of another one, or an empty one; gone afterwards."""
        target = self._client(self._scratch)
        target.flushdb()
        if source:
            with redis.Redis.from_url(source) as original:
                copy_keys(original, self._scratch)
        self.tidy()
        try:
            yield self.address(self._scratch)
        finally:
            target.flushdb()
            target.close()

    def tidy(self) -> None:
        """Write the append-only file anew and wait for it, so that no measurement pays for the one before."""
        self._admin.bgrewriteaof()
        while any(self._admin.info("persistence")[name] for name in REWRITING):
            time.sleep(0.01)

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


def is_empty(address: str, keys: tuple[str, ...]) -> bool:
    with redis.Redis.from_url(address) as client:
        return not client.exists(*keys)
