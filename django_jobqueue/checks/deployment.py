"""`manage.py check --deploy`: is the Redis behind a store one that jobs can be trusted to?

These ask the server. One that does not answer is a warning: the check must not fail because the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.checks import CheckMessage, Error, Info, Warning, register

from django_jobqueue.compat import InvalidTaskBackend, task_backends
from django_jobqueue.conf import DEFAULT_CONNECTION, DEFAULT_PREFIX, RECORD
from django_jobqueue.queues.base import DEFAULT_LEASE

LEVELS = {
    "memory": "nothing is kept: a restart of the server loses every job",
    "rdb": "snapshots only: a restart of the server loses what was enqueued since the last one",
    "aof-no": "an append only file written when the system likes: a power cut loses what it had not written",
    "aof": "an append only file, but the server does not tell how often it is written",
    "unknown": "no append only file, and the server does not tell whether it takes snapshots",
    "aof-everysec": "a power cut loses about a second",
    "aof-always": "what was acknowledged is on the disk",
}
"""What a server keeps when it ends, at each level."""
_KEPT = ("aof-everysec", "aof-always")
_COMPARED = {"database": "default", "lease": DEFAULT_LEASE, "record": RECORD[0]}
"""Options that two entries with one store must agree on. How each of them enqueues is its own affair."""


class Store(NamedTuple):
    """One entry of `TASKS` with a Redis behind it."""

    alias: str
    options: dict[str, Any]
    connection: Any

    @property
    def cache(self) -> str | None:
        """The alias of CACHES it uses, if it uses one."""
        if "url" in self.options or "connection_factory" in self.options:
            return None
        return str(self.options.get("connection", DEFAULT_CONNECTION))

    @property
    def name(self) -> str:
        return f"TASKS[{self.alias!r}] ({self.connection.address.text})"


@register("jobqueue", deploy=True)
def check_servers(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """E020 to E022, W020 to W027, I020: what docs/reference/checks.md says of each."""
    found: list[CheckMessage] = []
    stores: list[Store] = []
    for alias in settings.TASKS:
        try:
            store = _store(alias)
            if store is not None:
                stores.append(store)
                found += _check_settings_of(store)
                found += _check_server(store)
        except Exception as error:  # no server, no right to ask it, a function of the project that fails
            found.append(Warning(f"TASKS[{alias!r}] could not be checked: {error}", id="jobqueue.W020"))
    return [*found, *_check_shared_stores(stores), *_check_shared_pools(stores)]


def _store(alias: str) -> Store | None:
    try:
        backend: Any = task_backends[alias]
    except InvalidTaskBackend:  # told by the check of the task framework itself
        return None
    if not hasattr(backend, "connection_class") or any(backend.check_options("")):  # told by that check
        return None
    return Store(alias, backend.options, backend.queue.connection)


def _check_settings_of(store: Store) -> Iterator[CheckMessage]:
    """W023: shared with a cache. W024: no password. W025: no TLS."""
    # A cache of its own is what "connection" names; but "default" is everybody's.
    others = [alias for alias in store.connection.caches_here() if alias != store.cache or alias == DEFAULT_CACHE_ALIAS]
    if others:
        names = ", ".join(f"CACHES[{alias!r}]" for alias in others)
        yield Warning(
            f"{store.name} has its jobs in the same database as {names}: whoever clears that cache deletes them.",
            hint="Give the queue a number of its own, such as redis://…/1, and best a server of its own.",
            id="jobqueue.W023",
        )
    address = store.connection.address
    if address.is_local:
        return
    if not address.has_password:
        yield Warning(f"{store.name} is on another host and asks for no password.", id="jobqueue.W024")
    if not address.is_encrypted:
        yield Warning(
            f"{store.name} is on another host, and the way there is not encrypted.",
            hint="Use rediss:// where the network is not your own.",
            id="jobqueue.W025",
        )


def _check_server(store: Store) -> Iterator[CheckMessage]:
    health = store.connection.health()
    for check in _SERVER_CHECKS:
        yield from check(store.name, health)


def _check_version(name: str, health: Any) -> Iterator[CheckMessage]:
    """E022"""
    if health.is_too_old:
        yield Error(f"{name} is Redis {health.version}; at least 6.2 is needed.", id="jobqueue.E022")


def _check_role(name: str, health: Any) -> Iterator[CheckMessage]:
    """E021"""
    if health.role != "primary":
        yield Error(f"{name} is a replica, which takes no jobs.", id="jobqueue.E021")


def _check_eviction(name: str, health: Any) -> Iterator[CheckMessage]:
    """E020: jobs are thrown away when memory is short. W021: what is known of ended jobs is, or jobs will be."""
    if health.eviction in ("noeviction", "unknown"):
        return
    hint = "Set maxmemory-policy to noeviction: then a push is refused, and no job is lost."
    text = f"{name} has the maxmemory-policy {health.eviction!r}"
    if health.eviction.startswith("allkeys") and health.max_memory:
        yield Error(f"{text}: when its memory is full, it throws jobs away.", hint=hint, id="jobqueue.E020")
    elif health.eviction.startswith("allkeys"):
        yield Warning(f"{text}: as soon as it has a maxmemory, it may throw jobs away.", hint=hint, id="jobqueue.W021")
    else:
        yield Warning(
            f"{text}: when its memory is full, it forgets which jobs have ended, and a repeated push may run again.",
            hint=hint,
            id="jobqueue.W021",
        )


def _check_persistence(name: str, health: Any) -> Iterator[CheckMessage]:
    """W022: jobs may be lost with the server. I020: the level at which they are kept."""
    text = f"{name} keeps jobs at the level {health.persistence!r}: {LEVELS.get(health.persistence, 'unknown')}."
    if health.persistence in _KEPT:
        yield Info(text, id="jobqueue.I020")
    else:
        yield Warning(text, hint="Set appendonly yes, and appendfsync everysec or always.", id="jobqueue.W022")


_SERVER_CHECKS: list[Callable[[str, Any], Iterator[CheckMessage]]] = [
    _check_version,
    _check_role,
    _check_eviction,
    _check_persistence,
]


def _check_shared_stores(stores: list[Store]) -> Iterator[CheckMessage]:
    """W026: two entries are one store, and mean different things by it."""
    for one, other in combinations(stores, 2):
        if _place(one) != _place(other):
            continue
        keys = [key for key, usual in _COMPARED.items() if one.options.get(key, usual) != other.options.get(key, usual)]
        if keys:
            yield Warning(
                f"{one.name} and TASKS[{other.alias!r}] are one store, but differ in {', '.join(map(repr, keys))}.",
                hint="Give one of them another 'prefix', or both the same options.",
                id="jobqueue.W026",
            )


def _place(store: Store) -> tuple[str, str]:
    return store.connection.address.text, store.options.get("prefix", DEFAULT_PREFIX)


def _check_shared_pools(stores: list[Store]) -> Iterator[CheckMessage]:
    """W027: django-redis keeps one pool per LOCATION, made with the OPTIONS of whoever came first."""
    for mine in sorted({store.cache for store in stores if store.cache}):
        for alias, cache in settings.CACHES.items():
            ours = settings.CACHES[mine]
            same = cache.get("LOCATION") == ours.get("LOCATION") and cache.get("BACKEND") == ours.get("BACKEND")
            if alias == mine or not same or cache.get("OPTIONS") == ours.get("OPTIONS"):
                continue
            yield Warning(
                f"CACHES[{mine!r}] and CACHES[{alias!r}] have one LOCATION and different OPTIONS: django-redis makes "
                f"one connection pool for both, with the options of the one that is used first.",
                hint="Give the queue a LOCATION of its own.",
                id="jobqueue.W027",
            )
