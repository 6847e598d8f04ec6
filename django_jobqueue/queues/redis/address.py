"""Where a client leads: which server and database, and how well the way is guarded."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import caches
from redis import ConnectionPool, Redis, RedisCluster, SSLConnection

from django_jobqueue.queues.redis.sources import CacheSource, Client

_LOOPBACK = ("localhost", "::1")
_CORE_CACHE = "django.core.cache.backends.redis.RedisCache"


class Address(NamedTuple):
    """`text` names the server and the database, without secrets: equal texts are the same place."""

    text: str
    is_local: bool
    has_password: bool
    is_encrypted: bool


def address_of(client: Client) -> Address:
    """The address of a client; no connection is opened."""
    if isinstance(client, RedisCluster):
        kwargs = client.get_connection_kwargs()  # type: ignore[no-untyped-call]
        nodes: Any = client.get_nodes()  # type: ignore[no-untyped-call]
        text = "cluster://" + ",".join(sorted(node.name for node in nodes))
        local = all(_is_loopback(node.host) for node in nodes)
        return Address(text, local, _has_password(kwargs), bool(kwargs.get("ssl")))
    return _address_of_pool(client.connection_pool)


def caches_at(address: Address) -> list[str]:
    """The aliases of CACHES that keep their entries there."""
    return [alias for alias in settings.CACHES if _text_of_cache(alias) == address.text]


def _address_of_pool(pool: Any) -> Address:
    kwargs = pool.connection_kwargs
    encrypted = issubclass(pool.connection_class, SSLConnection)
    database = kwargs.get("db") or 0
    if hasattr(pool, "service_name"):
        return Address(f"sentinel://{pool.service_name}/{database}", False, _has_password(kwargs), encrypted)
    if "path" in kwargs:
        return Address(f"unix://{kwargs['path']}?db={database}", True, _has_password(kwargs), encrypted)
    host = str(kwargs.get("host", "localhost"))
    local = _is_loopback(host)
    name = "localhost" if local else host.lower()
    return Address(f"redis://{name}:{kwargs.get('port', 6379)}/{database}", local, _has_password(kwargs), encrypted)


def _text_of_cache(alias: str) -> str:
    """Empty for a cache that is no Redis, or that can't be made."""
    try:
        if settings.CACHES[alias].get("BACKEND") == _CORE_CACHE:
            server = caches[alias]._servers[0]  # type: ignore[attr-defined]
            return _address_of_pool(ConnectionPool.from_url(server)).text
        client = CacheSource(alias).shared()
        return address_of(client).text if isinstance(client, Redis | RedisCluster) else ""
    except Exception:  # a cache that is set up wrongly is not ours to tell of
        return ""


def _has_password(kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("password") or kwargs.get("credential_provider"))


def _is_loopback(host: str) -> bool:
    return host in _LOOPBACK or host.startswith("127.")
