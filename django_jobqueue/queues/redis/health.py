"""How a Redis server is: what it is, what it keeps, how full it is, how fast it answers."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from redis import Redis, RedisCluster
from redis.exceptions import ResponseError

OLDEST_REDIS = (6, 2)
"""The scripts use commands of this version."""


class Health(NamedTuple):
    """Memory is in bytes (`max_memory` 0: no limit), `latency_ms` one round trip.

    `persistence` says what a crash of the server leaves: "memory" nothing, "rdb" the last snapshot, "aof-everysec" all
    but the last second, "aof-always" everything, "aof-no" what the system had written. Where the server does not let us
    read its configuration it is "aof" or "unknown".
    """

    kind: str
    version: str
    role: str
    persistence: str
    used_memory: int
    max_memory: int
    eviction: str
    pool_in_use: int
    pool_max: int
    latency_ms: float

    @property
    def pool_utilisation(self) -> float:
        """From 0 to 1: how much of the connection pool is in use."""
        return self.pool_in_use / self.pool_max if self.pool_max else 0.0

    @property
    def is_too_old(self) -> bool:
        """Older than Redis 6.2. Every Valkey is newer."""
        parts = [int(part) for part in self.version.split(".")[:2] if part.isdigit()]
        return self.kind == "redis" and tuple(parts) < OLDEST_REDIS


def examine(server: Redis, pools: list[Any]) -> Health:
    """Ask one server. `pools` are the connection pools the store works with."""
    begun = time.monotonic()
    server.ping()
    latency_ms = (time.monotonic() - begun) * 1_000
    info: Any = server.info()
    is_valkey = "valkey_version" in info
    return Health(
        kind="valkey" if is_valkey else "redis",
        version=str(info["valkey_version"] if is_valkey else info.get("redis_version", "0")),
        role="primary" if info.get("role") == "master" else "replica",
        persistence=_persistence(server, bool(info.get("aof_enabled"))),
        used_memory=int(info.get("used_memory", 0)),
        max_memory=int(info.get("maxmemory", 0)),
        eviction=str(info.get("maxmemory_policy", "unknown")),
        pool_in_use=sum(_in_use(pool) for pool in pools),
        pool_max=sum(int(pool.max_connections) for pool in pools),
        latency_ms=latency_ms,
    )


def server_of(client: Redis | RedisCluster, key: str) -> Redis:
    """The server that holds a key."""
    if not isinstance(client, RedisCluster):
        return client
    return client.get_redis_connection(client.get_node_from_key(key))  # type: ignore[no-untyped-call]


def pools_of(client: Redis | RedisCluster) -> list[Any]:
    """The connection pools of a client: one, or one per node that was talked to."""
    if not isinstance(client, RedisCluster):
        return [client.connection_pool]
    nodes: Any = client.get_nodes()  # type: ignore[no-untyped-call]
    return [node.redis_connection.connection_pool for node in nodes if node.redis_connection]


def _persistence(server: Redis, has_aof: bool) -> str:
    name = "appendfsync" if has_aof else "save"
    try:
        value = _setting(server, name)
    except ResponseError:  # a managed server, or a user without the right
        return "aof" if has_aof else "unknown"
    if has_aof:
        return f"aof-{value}"
    return "rdb" if value else "memory"


def _setting(server: Redis, name: str) -> str:
    answer: Any = server.config_get(name)
    value = next(iter(answer.values()), "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _in_use(pool: Any) -> int:
    if hasattr(pool, "get_connection_count"):  # [(idle, …), (in use, …)]
        return int(pool.get_connection_count()[1][0])
    return len(getattr(pool, "_in_use_connections", ()))
