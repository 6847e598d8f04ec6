"""Where a client comes from: a cache of django-redis, a URL, or a function of the project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_jobqueue.conf import DEFAULT_CONNECTION

Client = redis.Redis | redis.RedisCluster

# What redis-py 8 does by itself and earlier ones don't: a server that is gone must not hold a worker for ever.
_BOUNDED = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}


class Source(Protocol):
    """`shared` is the client of the whole process, `own` one with connections that nobody else uses."""

    name: str

    def shared(self) -> Client: ...

    def own(self) -> Client: ...


def source_of(options: Mapping[str, Any]) -> Source:
    """The source a backend's OPTIONS name. Raises `ImproperlyConfigured` when they name more than one."""
    given = [key for key in ("connection", "url", "connection_factory") if key in options]
    if len(given) > 1:
        raise ImproperlyConfigured(f"Give one of {' and '.join(given)}, not {len(given)}.")
    if "url" in options:
        return UrlSource(options["url"])
    if "connection_factory" in options:
        return FactorySource(options["connection_factory"])
    return CacheSource(options.get("connection", DEFAULT_CONNECTION))


class UrlSource:
    """`redis://`, `rediss://` or `unix://`. Timeouts, pool size and protocol may be in its query."""

    def __init__(self, url: str) -> None:
        self.name = "the Redis of the option 'url'"  # which may hold a password
        self._url = url

    def shared(self) -> Client:
        try:
            return redis.Redis.from_url(self._url, **_BOUNDED)
        except ValueError:  # its text may hold a piece of a password
            raise ImproperlyConfigured("it is no URL of a Redis (redis://, rediss://, unix://)") from None

    own = shared


class FactorySource:
    """A function of the project, asked once per process and purpose."""

    def __init__(self, path: str) -> None:
        self.name = f"the Redis of {path}"
        self._path = path

    def shared(self) -> Client:
        client = import_string(self._path)()
        if not isinstance(client, redis.Redis | redis.RedisCluster):
            kind = f"{type(client).__module__}.{type(client).__qualname__}"
            raise ImproperlyConfigured(f"{self._path} must return a redis.Redis or a redis.RedisCluster, not {kind}.")
        return client

    own = shared


class CacheSource:
    """A cache of django-redis: its pool is shared with whoever uses that cache. Sentinel comes with it."""

    def __init__(self, alias: str) -> None:
        self.name = f"the Redis of CACHES[{alias!r}]"
        self._alias = alias

    def shared(self) -> Client:
        client: Client = self._cache().get_client(write=True)
        for pool in [client.connection_pool] if isinstance(client, redis.Redis) else []:
            # redis-py before 8 waits for a server for ever, and so would a worker that is told to stop.
            for name, seconds in _BOUNDED.items():
                pool.connection_kwargs.setdefault(name, seconds)
        return client

    def own(self) -> Client:
        cache = self._cache()
        factory = cache.connection_factory
        pool = factory.get_connection_pool(factory.make_connection_params(cache._server[0]))
        kind: type[redis.Redis] = type(cache.get_client(write=True))
        return kind(connection_pool=pool)

    def _cache(self) -> Any:
        """django-redis' own client of the cache; refused where the keys of one store could be on several servers."""
        from django_redis.cache import RedisCache
        from django_redis.client import ShardClient

        cache = caches[self._alias]
        if not isinstance(cache, RedisCache):
            kind = f"{type(cache).__module__}.{type(cache).__qualname__}"
            raise ImproperlyConfigured(
                f"CACHES[{self._alias!r}] is a {kind}; a queue needs django_redis.cache.RedisCache."
            )
        if isinstance(cache.client, ShardClient):
            raise ImproperlyConfigured(
                f"CACHES[{self._alias!r}] spreads its keys over several servers (ShardClient); a queue needs one."
            )
        return cache.client
