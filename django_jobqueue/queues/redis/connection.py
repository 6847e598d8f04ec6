"""The way to the server: one client for the work, one for listening, one for asking how it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from redis import RedisCluster
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

from django_jobqueue.conf import DEFAULT_PREFIX
from django_jobqueue.exceptions import JobQueueError
from django_jobqueue.queues.redis.address import Address, address_of, caches_at
from django_jobqueue.queues.redis.failures import READONLY, REDIS_ERRORS, code_of, translate
from django_jobqueue.queues.redis.health import Health, examine, pools_of, server_of
from django_jobqueue.queues.redis.kept import Kept, kept_of
from django_jobqueue.queues.redis.sources import Client, source_of

LISTENER_TIMEOUT = 5.0
"""Seconds for a half-read message or an unanswered connect on the wake-up connection; waiting itself is not bound."""


class Connection:
    """A Redis or Valkey server, as a backend's OPTIONS name it. Nothing is opened before it is needed.

    May be used from any thread, and after a fork: the child opens connections of its own.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._source = source_of(options)
        self._key = f"{{{options.get('prefix', DEFAULT_PREFIX)}}}:"
        self._shared: tuple[int, Client, Kept] | None = None
        self._spare: tuple[int, Client] | None = None

    @property
    def name(self) -> str:
        """The server in words, without secrets."""
        return self._source.name

    @property
    def client(self) -> Client:
        """The client for the work; its pool is shared by all threads.

        Raises `ImproperlyConfigured` for a client that can't carry a queue.
        """
        return self._mine()[1]

    def call(self, *command: Any) -> Any:
        """A command of the work. Raises redis-py's errors: see `errors` and `translate`."""
        return self._mine()[2].call(*command)

    def _mine(self) -> tuple[int, Client, Kept]:
        # A child of a fork makes its own: another thread may have held the lock of the pool at that moment. For the
        # same reason there is no lock here; two threads that come first make two clients, and one of them stays.
        pid = os.getpid()
        if self._shared is None or self._shared[0] != pid:
            client = self._usable(self._source.shared())
            self._shared = (pid, client, kept_of(client))
        return self._shared

    @property
    def is_cluster(self) -> bool:
        return isinstance(self.client, RedisCluster)

    @property
    def address(self) -> Address:
        """Which server and database this is, and how the way to it is guarded. Opens no connection but a cluster's."""
        return address_of(self.client)

    def caches_here(self) -> list[str]:
        """The aliases of CACHES whose entries are in the same database: clearing one of them deletes the jobs."""
        return caches_at(self.address)

    def listener(self) -> PubSub:
        """A pub/sub object on a connection of its own, for one thread. It never reconnects by itself; close it."""
        client: Any = self._usable(self._source.own())
        if not isinstance(client, RedisCluster) and client.connection_pool is not self._pool_of_shared():
            client.connection_pool.connection_kwargs.update(
                socket_timeout=LISTENER_TIMEOUT,
                socket_connect_timeout=LISTENER_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                retry_on_timeout=False,
                health_check_interval=0,  # its answer would wake whoever waits
            )
        listener: PubSub = client.pubsub(ignore_subscribe_messages=True)
        return listener

    def health(self) -> Health:
        """Ask the server, on a connection of its own: a pool that is used up must not hide that it is.

        Raises `StoreUnavailable`.
        """
        with self.errors():
            pid = os.getpid()
            if self._spare is None or self._spare[0] != pid:
                self._spare = (pid, self._usable(self._source.own()))
            return examine(server_of(self._spare[1], self._key), pools_of(self.client))

    def translate(self, error: BaseException) -> JobQueueError:
        """Our exception for one of redis-py's. A server that has become a replica loses our connections."""
        if code_of(error) == READONLY:
            self.drop()
        return translate(error, self.name)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What redis-py raises inside comes out as `StoreUnavailable`, `QueueFull` or `StoreError`."""
        try:
            yield
        except REDIS_ERRORS as error:
            raise self.translate(error) from error

    def drop(self) -> None:
        """Let go of the idle connections; the next call opens one, to whatever answers under the name by then.

        Those in use are left to their threads, which will come here with the same error.
        """
        self._mine()[2].give_back()
        for pool in pools_of(self.client):
            pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close what was opened for this object alone; the shared pool belongs to the process."""
        if self._shared is not None and self._shared[0] == os.getpid():
            self._shared[2].give_back()
        held, self._spare = self._spare, None
        if held is not None and held[0] == os.getpid():
            held[1].close()

    def _pool_of_shared(self) -> Any:
        return getattr(self.client, "connection_pool", None)

    def _usable(self, client: Client) -> Client:
        if client.get_encoder().decode_responses:
            raise ImproperlyConfigured(
                f"{self.name} has decode_responses=True; jobs are bytes, so a queue needs a connection without it."
            )
        return client
