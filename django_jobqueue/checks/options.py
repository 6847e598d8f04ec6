"""The OPTIONS of an entry of `TASKS`: what may be in them, and the words for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from django_jobqueue.conf import DEFAULT_CONNECTION, ON_COMMIT, RECORD, unknown_key

SOURCES = ("connection", "url", "connection_factory")
CONNECTION = "django_jobqueue.queues.redis.connection.Connection"
MAX_ALIAS = 54
"""In the outbox a unique key has the alias of its store in front, and MySQL wants unique texts of at most 255."""
_PREFIX = re.compile(r"[A-Za-z0-9_.\-:]{1,100}\Z")


def check_known(where: str, options: Any, known: Collection[str]) -> Iterator[CheckMessage]:
    """E010: unknown option, or no options at all."""
    if not isinstance(options, dict):
        yield Error(f"{where} must be a dictionary, not {options!r:.60}.", id="jobqueue.E010")
        return
    for key in options:
        if key not in known:
            yield Error(unknown_key(where, key, known), id="jobqueue.E010")


def check_common(where: str, options: Mapping[str, Any], default_lease: float) -> Iterator[CheckMessage]:
    """E011: no such database. E012: a lease that can't work."""
    database = options.get("database", "default")
    if database not in connections:
        yield Error(f"{where}['database'] is {database!r}, which is not in DATABASES.", id="jobqueue.E011")
    lease = options.get("lease", default_lease)
    if isinstance(lease, bool) or not isinstance(lease, int | float) or not 1 <= lease < inf:
        yield Error(f"{where}['lease'] must be a number of seconds, at least 1, not {lease!r}.", id="jobqueue.E012")


def check_redis(alias: str, where: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """E013: not one connection. E014: it can't be used. E015: a word that is none of a few. E016: prefix, alias."""
    yield from _check_source(where, options)
    yield from _check_word(where, "record", options, RECORD)
    yield from _check_word(where, "on_commit", options, ON_COMMIT)
    prefix = options.get("prefix", "jobqueue")
    if not isinstance(prefix, str) or not _PREFIX.match(prefix):
        yield Error(
            f"{where}['prefix'] must be 1 to 100 letters, digits, dots, dashes, colons and underscores, "
            f"not {prefix!r:.60}.",
            id="jobqueue.E016",
        )
    if len(alias) > MAX_ALIAS:
        yield Error(
            f"TASKS[{alias!r:.60}] has a name of {len(alias)} characters; that of a RedisBackend may have {MAX_ALIAS}.",
            id="jobqueue.E016",
        )


def _check_source(where: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    given = [key for key in SOURCES if key in options]
    if len(given) > 1:
        names = " and ".join(repr(key) for key in given)
        yield Error(f"{where} has {names}; give one of them.", id="jobqueue.E013")
        return
    key = given[0] if given else SOURCES[0]
    value = options.get(key, DEFAULT_CONNECTION)
    if not isinstance(value, str) or not value:
        what = {"connection": "an alias of CACHES", "url": "a URL", "connection_factory": "a dotted path"}[key]
        yield Error(f"{where}[{key!r}] must be {what}, not {value!r:.60}.", id="jobqueue.E013")
        return
    problem = _unknown_cache(value) if key == "connection" else ""
    problem = problem or _unusable(key, value, options)
    if problem:
        yield Error(f"{where}[{key!r}] can't be used: {problem}", id="jobqueue.E014")


def _unknown_cache(alias: str) -> str:
    if alias in settings.CACHES:
        return ""
    close = get_close_matches(alias, list(settings.CACHES), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{alias!r} is not in CACHES.{hint}"


def _unusable(key: str, value: str, options: Mapping[str, Any]) -> str:
    """Make the client, which opens no connection; a function of the project might, so that one is only imported."""
    try:
        if key == "connection_factory":
            made = import_string(value)
            return "" if callable(made) else f"{value} is not callable."
        import_string(CONNECTION)(options).client  # noqa: B018
    except ImportError as error:
        return _not_installed(error) or f"{error}."
    except (ImproperlyConfigured, ValueError, TypeError) as error:
        return f"{error}".rstrip(".") + "."
    return ""


def _not_installed(error: ImportError) -> str:
    """A sentence for a package that has to be installed; "" for any other failure."""
    if error.name not in ("redis", "django_redis"):
        return ""
    return f"the package {error.name!r} is not installed (pip install 'django-jobqueue[redis]')."


def _check_word(where: str, key: str, options: Mapping[str, Any], words: tuple[str, ...]) -> Iterator[CheckMessage]:
    value = options.get(key, words[0])
    if isinstance(value, str) and value in words:
        return
    close = get_close_matches(str(value), words, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    known = ", ".join(repr(word) for word in words)
    yield Error(f"{where}[{key!r}] must be one of {known}, not {value!r:.60}.{hint}", id="jobqueue.E015")
