"""The moves of the Redis store, one script each, and how they are called. keys.lua tells the layout of the keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.failures import REDIS_ERRORS

KEYS = (
    *("jobs", "state", "delayed", "workers", "counts", "unique", "unrecorded", "traits"),
    *("done", "older", "results", "older_results", "calls", "meta"),
)
STORING = ("push", "push_one", "push_alike")
"""These need memory."""
CHECKING_LITTLE = (*STORING, "claim_few")
"""These look only at the keys they write, and leave it to `types` to say which is wrong."""
READING = (
    *("find", "finished", "knows", "leases", "next_due", "peek", "queue_names", "stats", "types", "unrecorded"),
    *("ready_of", "statuses", "inspect", "inspect_rest", "inspect_sums", "inspect_workers"),
)
_FREE = frozenset((*STORING, *READING))
ALLOW_OOM = "#!lua flags=allow-oom\n"
"""What takes jobs out must work when the memory is full."""
WRITE_NOTHING = "redis.call('UNLINK', KEYS[1] .. ':nothing')\n"
"""The same for Redis 6.2, which doesn't know flags: there, the first write decides, and this one is always allowed."""


_AFTER = re.compile(r"-- after:(.*)")


@lru_cache(maxsize=64)
def source(name: str, knows_flags: bool) -> tuple[bytes, bytes]:
    """The text of a script and its SHA-1, the name it goes by on a server. Its first line names its shared parts."""
    script = _read(name)
    first = _AFTER.match(script)
    if first is None:
        raise ValueError(f"{name}.lua does not say in its first line after which parts it comes")
    is_free = name in _FREE
    text = (
        ("" if is_free else ALLOW_OOM if knows_flags else WRITE_NOTHING)
        + "\n".join([*map(_read, first[1].split()), script])
    ).encode()
    return text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")


class Scripts:
    """Calls scripts on the keys of one store. A server that has forgotten a script is given it again."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self.connection = connection
        tag = f"{{{prefix}}}"
        self.keys = [f"{tag}:{name}" for name in KEYS]
        self._first_key = self.keys[0].encode()
        self.channel = f"{tag}:wake"
        self._knows_flags = True

    def key(self, name: str) -> str:
        return self.keys[KEYS.index(name)]

    def run(self, name: str, *arguments: Any) -> Any:
        """Raises `StoreUnavailable`, `QueueFull`, `StoreError`."""
        try:
            return self._run(name, arguments)
        except REDIS_ERRORS as error:
            if name in CHECKING_LITTLE and "WRONGTYPE" in str(error):
                self.run("types")  # which says where
            raise self.connection.translate(error) from error

    def _run(self, name: str, arguments: Sequence[Any]) -> Any:
        if self._knows_flags and name not in _FREE:
            try:
                return self._call(*source(name, True), arguments)
            except ResponseError as error:
                if "compiling script" not in str(error) or "#" not in str(error):
                    raise
                self._knows_flags = False  # older than Redis 7
        return self._call(*source(name, False), arguments)

    def _call(self, text: bytes, sha: bytes, arguments: Sequence[Any]) -> Any:
        try:
            return self.connection.call("EVALSHA", sha, b"1", self._first_key, *arguments)
        except NoScriptError:
            return self.connection.call("EVAL", text, b"1", self._first_key, *arguments)

    def get_fields(self, name: str, fields: Sequence[bytes]) -> list[bytes | None]:
        with self.connection.errors():
            found: Any = self.connection.client.hmget(self.key(name), list(fields))
            return list(found)

    def delete_fields(self, name: str, fields: Sequence[bytes]) -> None:
        if fields:
            with self.connection.errors():
                self.connection.client.hdel(self.key(name), *fields)
