"""The moves of the Redis store, one script each, and how they are called. common.lua tells the layout of the keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from django_jobqueue.queues.redis.connection import Connection

KEYS = ("jobs", "state", "delayed", "workers", "counts", "unique", "unrecorded", "done", "older", "meta")
ALLOW_OOM = "#!lua flags=allow-oom\n"
"""What takes jobs out must work when the memory is full. Redis 6.2 doesn't know this line, nor the flag."""


@lru_cache(maxsize=64)
def source(name: str, allow_oom: bool) -> tuple[str, str]:
    """The text of a script and its SHA-1, the name it goes by on a server."""
    here = files(__name__)
    first = ALLOW_OOM if allow_oom else ""
    text = first + "\n".join(here.joinpath(f"{part}.lua").read_text() for part in ("common", "rooms", name))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Calls scripts on the keys of one store. A server that has forgotten a script is given it again."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self.connection = connection
        tag = f"{{{prefix}}}"
        self.keys = [f"{tag}:{name}" for name in KEYS]
        self.channel = f"{tag}:wake"
        self._knows_flags = True

    def key(self, name: str) -> str:
        return self.keys[KEYS.index(name)]

    def run(self, name: str, *arguments: Any) -> Any:
        """Raises `StoreUnavailable`, `QueueFull`, `StoreError`."""
        with self.connection.errors():
            return self._run(name, arguments)

    def _run(self, name: str, arguments: Sequence[Any]) -> Any:
        if self._knows_flags and name != "push":
            try:
                return self._call(*source(name, True), arguments)
            except ResponseError as error:
                if "compiling script" not in str(error) or "#" not in str(error):
                    raise
                self._knows_flags = False  # older than Redis 7
        return self._call(*source(name, False), arguments)

    def _call(self, text: str, sha: str, arguments: Sequence[Any]) -> Any:
        client: Any = self.connection.client
        try:
            return client.evalsha(sha, len(self.keys), *self.keys, *arguments)
        except NoScriptError:
            return client.eval(text, len(self.keys), *self.keys, *arguments)

    def get_fields(self, name: str, fields: Sequence[bytes]) -> list[bytes | None]:
        with self.connection.errors():
            found: Any = self.connection.client.hmget(self.key(name), list(fields))
            return list(found)

    def delete_fields(self, name: str, fields: Sequence[bytes]) -> None:
        if fields:
            with self.connection.errors():
                self.connection.client.hdel(self.key(name), *fields)
