"""What redis-py raises, in our words: did the server not answer, is it full, or does it refuse?"""

from __future__ import annotations

import re

from redis import exceptions

from django_jobqueue.exceptions import JobQueueError, QueueFull, StoreError, StoreUnavailable

REDIS_ERRORS = (exceptions.RedisError, exceptions.RedisClusterException, exceptions.ChildDeadlockedError, OSError)
"""Everything a call of redis-py may raise because of the server or the way to it."""

READONLY = "READONLY"
_FULL = "OOM"
_MOVED = ("MOVED", "ASK", "CROSSSLOT")

# Codes of a server that can't now. Permissions are among them: an operator who takes one away by mistake, or renews a
# password, must cost nothing but time. A settlement that was refused for good would be lost.
_NOT_NOW = {
    READONLY,
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "UNBLOCKED",
    "REDIRECT",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
}
# redis-py cuts the code off the text of the errors it has a class for.
_CODES: dict[type[Exception], str] = {
    exceptions.OutOfMemoryError: _FULL,
    exceptions.ReadOnlyError: READONLY,
    exceptions.NoPermissionError: "NOPERM",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
    exceptions.NoScriptError: "NOSCRIPT",
}
# Errors of Redis itself, not of one statement: the way to it is broken.
_NO_ANSWER = (
    exceptions.ConnectionError,  # also: authentication, pool exhausted, loading
    exceptions.TimeoutError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    exceptions.InvalidResponse,
    OSError,
)
_FIRST_WORD = re.compile(r"([A-Z]{3,})\b")
# Before Redis 7 an error inside a script came wrapped: "ERR Error running script (…): @user_script: 3: -OOM command …"
_IN_SCRIPT = re.compile(r"user_script:\s*\d+:\s*-([A-Z]{3,})\b")
_NO_RIGHT_IN_SCRIPT = re.compile(r"ACL failure in script|The user executing the script can't")
"""NOPERM inside a script, from Redis 7 on and before it: neither has the word."""


def code_of(error: BaseException) -> str:
    """The server's word for an error (`OOM`, `READONLY`), "" when it gave none."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    text = str(error)
    if _NO_RIGHT_IN_SCRIPT.search(text):
        return "NOPERM"
    found = _IN_SCRIPT.search(text) or _FIRST_WORD.match(text)
    return found.group(1) if found else ""


def translate(error: BaseException, where: str) -> JobQueueError:
    """Our exception for one of redis-py's. `where` names the store."""
    if isinstance(error, JobQueueError):
        return error
    code, text = code_of(error), _text(error)
    if code == _FULL:
        return QueueFull(f"{where} has reached its maxmemory, nothing was stored: {text}")
    if code in _MOVED:
        hint = "it is a cluster: give a connection_factory that makes a redis.RedisCluster"
        return StoreError(f"{where} refused ({code}): {text}; {hint}")
    if code in _NOT_NOW:
        return StoreUnavailable(f"{where} can't now ({code}): {text}")
    if isinstance(error, _NO_ANSWER):
        return StoreUnavailable(f"{where} did not answer: {text}")
    return StoreError(f"{where} refused: {text}")


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
