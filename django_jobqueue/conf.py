"""The `JOBQUEUE` setting: what may be in it, its defaults, and the words for what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from math import inf
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Conf:
    """Everything that can be set in `JOBQUEUE`, with its default. Times are seconds, sizes bytes."""

    RETRY: Any = None
    """The retry strategy of tasks without one of their own. None: `ExponentialBackoff(max_attempts=3)`."""
    TIMEOUT: float | None = None
    """How long a job of a task without a timeout of its own, and of a queue without one, may run. None: for ever."""
    QUEUES: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is special to a queue, by its name: keys of `QUEUE_OPTIONS`. See `lifecycle.policy`."""
    CRASH_BUDGET: int = 3
    """How many workers a job may bring down before it is a dead letter (`worker_lost`)."""
    MAX_PAYLOAD_BYTES: int = 262_144
    MAX_RESULT_BYTES: int = 1_048_576
    MAX_ERROR_CHARS: int = 65_536
    """A stored traceback is cut to this many characters; its message to a sixteenth of it."""
    POLL_INTERVAL: float = 1.0
    """How long an idle worker trusts its wake-up channel before it looks by itself."""
    PREFETCH_SECONDS: float = 0.1
    """A worker takes as many jobs as it expects to finish in this time."""
    PREFETCH_MAX: int = 500
    FLUSH_SECONDS: float = 0.025
    """How long a finished job may wait to be settled while the worker is busy with the next one."""
    NOTIFY: bool = True
    """Wake workers through PostgreSQL's NOTIFY. Off: they poll."""
    SHUTDOWN_GRACE: float = 30.0
    """How long a stopping worker lets its running job finish."""
    KILL_AFTER: float = 5.0
    """How long a job may go on after its timeout was raised in it, before its process is killed."""
    WORKER_TOKENS: Sequence[Any] = ()
    """Hashes of the tokens of workers, as text or as `{"hash": …, "queues": […]}`. Empty: a worker needs none."""
    AUTOSCALE_TARGET: float = 10.0
    """How long jobs should wait at most: what `queue_work --autoscale` works for."""
    SCHEDULES: Mapping[str, Any] = field(default_factory=dict)
    """Schedules by their names. What an entry may be: `scheduling.declared`."""
    KEEP_HISTORY: float | timedelta | None = 7_776_000
    """How old the history gets before a scheduler deletes it. None: nothing deletes it by itself."""
    KEEP_DEAD_LETTERS: float | timedelta | None = None
    """The same for dead letters. They leave no trace, so nobody but the project decides that."""


_POSITIVE = {
    "CRASH_BUDGET",
    "MAX_PAYLOAD_BYTES",
    "MAX_RESULT_BYTES",
    "MAX_ERROR_CHARS",
    "POLL_INTERVAL",
    "PREFETCH_SECONDS",
    "PREFETCH_MAX",
    "FLUSH_SECONDS",
    "SHUTDOWN_GRACE",
    "KILL_AFTER",
    "AUTOSCALE_TARGET",
}
QUEUE_OPTIONS = (
    *("profile", "timeout", "retry", "prefetch", "memory_mb", "concurrency", "aging"),
    *("backlog_warning", "backlog_critical", "backlog_priorities"),
)
"""Keys of an entry of `QUEUES`. `timeout` and `aging` in seconds, the other numbers are jobs, and MiB of memory."""
TOKEN_HASH = re.compile(r"sha256\$[0-9a-f]{64}")
"""What `manage.py queue_token` prints."""
PROFILES = ("api", "pipeline", "ml")
"""Ready-made entries of `QUEUES`, for its key `profile`."""
BACKEND_OPTIONS = {"database", "lease"}
"""OPTIONS of `DatabaseBackend`."""
REDIS_OPTIONS = BACKEND_OPTIONS | {"connection", "url", "connection_factory", "record", "on_commit", "prefix"}
"""OPTIONS of `RedisBackend`."""
DEFAULT_CONNECTION = "default"
DEFAULT_PREFIX = "jobqueue"
RECORD = ("all", "failures", "none")
ON_COMMIT = ("outbox", "on_commit", "immediate")
"""What the options `record` and `on_commit` may be, the default first."""


@lru_cache(maxsize=1)
def conf() -> Conf:
    """The project's settings over the defaults. Unknown keys are left to `manage.py check`, not raised here."""
    given = getattr(settings, "JOBQUEUE", None)
    given = given if isinstance(given, dict) else {}  # E001 says so
    known = {one.name for one in fields(Conf)}
    return Conf(**{key: value for key, value in given.items() if key in known})


def problems(given: Any) -> list[str]:
    """What is wrong with a `JOBQUEUE` dictionary, in sentences."""
    if not isinstance(given, dict):
        return [f"JOBQUEUE must be a dictionary, not {type(given).__name__}."]
    defaults = Conf()
    known = {one.name: getattr(defaults, one.name) for one in fields(Conf)}
    found = [unknown_key("JOBQUEUE", key, known) for key in given if key not in known]
    for key in sorted(known.keys() & given.keys()):
        found += _wrong_value(key, given[key], known[key])
    return found


def _wrong_value(key: str, value: Any, default: Any) -> list[str]:
    where = f"JOBQUEUE[{key!r}]"
    if key == "RETRY":
        return [] if value is None else _no_strategy(where, value)
    if key == "TIMEOUT":
        return [] if value is None else _no_number(where, value, (int, float))
    if key in ("KEEP_HISTORY", "KEEP_DEAD_LETTERS"):
        return _no_span(where, value)
    if key == "QUEUES":
        return _wrong_queues(where, value)
    if key == "SCHEDULES":  # what is in it needs the tasks to be judged: see `checks.schedules`
        return [] if isinstance(value, Mapping) else [f"{where} must be a dictionary, not {type(value).__name__}."]
    if key == "WORKER_TOKENS":
        return _wrong_tokens(where, value)
    if isinstance(default, bool):
        return [] if isinstance(value, bool) else [f"{where} must be True or False, not {value!r}."]
    return _no_number(where, value, (int,) if isinstance(default, int) else (int, float), key in _POSITIVE)


def _wrong_queues(where: str, given: Any) -> list[str]:
    if not isinstance(given, Mapping):
        return [f"{where} must be a dictionary by names of queues, not {type(given).__name__}."]
    found = []
    for name, options in given.items():
        here = f"{where}[{name!r}]"
        if not isinstance(name, str) or not isinstance(options, Mapping):
            found.append(f"{here} must be a dictionary by the name of a queue, not {options!r:.60}.")
            continue
        found += [unknown_key(here, key, QUEUE_OPTIONS) for key in options if key not in QUEUE_OPTIONS]
        for key in QUEUE_OPTIONS:
            if key in options:
                found += _wrong_queue_option(f"{here}[{key!r}]", key, options[key])
    return found


def _wrong_queue_option(where: str, key: str, value: Any) -> list[str]:
    if key == "profile":
        known = ", ".join(map(repr, PROFILES))
        return [] if value in PROFILES else [f"{where} is none of the profiles {known}: {value!r}."]
    if key == "retry":
        return _no_strategy(where, value)
    if key == "backlog_priorities":
        fits = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        return [] if fits else [f"{where} must be a dictionary from tasks to priorities, not {value!r:.60}."]
    return _no_number(where, value, (int, float) if key in ("timeout", "aging") else (int,))


def _wrong_tokens(where: str, given: Any) -> list[str]:
    """Without the values: somebody may have written a token in place of its hash."""
    if not isinstance(given, list | tuple):
        return [f"{where} must be a list of hashes of tokens, not {type(given).__name__}."]
    return [
        f"{where}[{n}] is no hash of a token, nor a dictionary with 'hash' and, if it is for some queues only, a list "
        f"'queues': make one with `manage.py queue_token`."
        for n, entry in enumerate(given)
        if not is_token_entry(entry)
    ]


def is_token_entry(entry: Any) -> bool:
    """Whether this is what `WORKER_TOKENS` may hold."""
    if isinstance(entry, str):
        return TOKEN_HASH.fullmatch(entry) is not None
    if not isinstance(entry, Mapping) or not {"hash"} <= set(entry) <= {"hash", "queues"}:
        return False
    scope = entry.get("queues", [""])
    is_scope = isinstance(scope, list | tuple) and bool(scope) and all(isinstance(name, str) for name in scope)
    return is_scope and isinstance(entry["hash"], str) and TOKEN_HASH.fullmatch(entry["hash"]) is not None


def _no_strategy(where: str, value: Any) -> list[str]:
    if hasattr(value, "should_retry") and hasattr(value, "delay") and not isinstance(value, type):
        return []
    return [f"{where} must be a retry strategy such as ExponentialBackoff(), not {value!r}."]


def _no_number(where: str, value: Any, kinds: tuple[type, ...], positive: bool = True) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, kinds):
        return [f"{where} must be a {'whole ' if kinds == (int,) else ''}number, not {value!r}."]
    number: Any = value
    if positive and not 0 < number < inf:
        return [f"{where} must be greater than zero, and finite, not {value!r}."]
    return []


def _no_span(where: str, value: Any) -> list[str]:
    """Seconds or a timedelta; None for ever."""
    if value is None or (isinstance(value, timedelta) and value > timedelta(0)):
        return []
    if isinstance(value, timedelta):
        return [f"{where} must be greater than zero, not {value!r}."]
    return _no_number(where, value, (int, float))


def unknown_key(where: str, key: Any, known: Any) -> str:
    """One sentence for a key that doesn't exist, with the one that was probably meant."""
    close = get_close_matches(str(key), list(known), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known))}."
    return f"{where} has no key {key!r}.{hint}"


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "JOBQUEUE":
        conf.cache_clear()


setting_changed.connect(_forget)
