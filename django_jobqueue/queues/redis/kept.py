"""A connection that a burst of calls keeps from one to the next: asking the pool costs a third of a short call."""

from __future__ import annotations

import os
import time
from typing import Any
from weakref import WeakValueDictionary

import redis

KEEP_SECONDS = 1.0
"""A connection that was idle for longer may be dead by now; the pool knows how to tell."""
FEWEST = 10
"""A pool of less connections has none to keep: somebody else may wait for it."""


class Kept:
    """One connection of a client's pool, for one thread at a time. Who comes while it is in use asks the pool."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._places = [_Place()] if _has_enough(client) else []

    def call(self, *command: Any) -> Any:
        """As `execute_command` of the client. May be done twice: for scripts that don't mind."""
        try:
            place = self._places.pop()  # at once: two threads can't both have it
        except IndexError:
            return self._client.execute_command(*command)
        is_used = place.is_used
        try:
            return place.client_for(self._client).execute_command(*command)
        except redis.ConnectionError:
            place.hang_up()
            if not is_used:
                raise
            # The server may have been started again since the last call: the pool would have noticed.
            return self._client.execute_command(*command)
        except redis.RedisError:  # which redis-py has seen to
            place.give_back()
            raise
        except BaseException:  # between a question and its answer: who comes next would take it for his
            place.hang_up()
            raise
        finally:
            place.used_at = time.monotonic()
            self._places.append(place)

    def give_back(self) -> None:
        """To the pool, unless it is in use."""
        try:
            place = self._places.pop()
        except IndexError:
            return
        place.give_back()
        self._places.append(place)


_kept: WeakValueDictionary[tuple[int, int], Kept] = WeakValueDictionary()
"""By the process and the pool's id; a `Kept` holds its pool, so the id is of no other one while it is here."""


def kept_of(client: Any) -> Kept:
    """What keeps the one connection of the client's pool.

    Each thread has a backend and a client of its own, while the pool of a cache is the process's. If each kept one, so
    many threads as the pool has connections would leave none for the next.
    """
    pool = getattr(client, "connection_pool", None)
    return Kept(client) if pool is None else _kept.setdefault((os.getpid(), id(pool)), Kept(client))


class _Place:
    def __init__(self) -> None:
        self.used_at = 0.0
        self._holder: Any = None

    @property
    def is_used(self) -> bool:
        return self._holder is not None

    def client_for(self, client: Any) -> Any:
        if self._holder is not None and time.monotonic() - self.used_at > KEEP_SECONDS:
            self.give_back()
        if self._holder is None:
            self._holder = type(client)(connection_pool=client.connection_pool, single_connection_client=True)
        return self._holder

    def hang_up(self) -> None:
        if self._holder is not None and self._holder.connection is not None:
            self._holder.connection.disconnect()
        self.give_back()

    def give_back(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()


def _has_enough(client: Any) -> bool:
    """Whether the client has a pool, and it has a connection to spare. A client of a cluster has many."""
    return isinstance(client, redis.Redis) and getattr(client.connection_pool, "max_connections", 0) >= FEWEST
