"""Who may be a worker: a token that the worker has and the settings know the hash of (`JOBQUEUE["WORKER_TOKENS"]`).

A token is 256 random bits, so a plain SHA-256 of it is no easier to guess than the token: a slow hash would protect
nothing. It comes from the environment or a file, never from the command line, which everybody on the host can read, and
stands in no log and no table. It guards against a worker that should not be: started by mistake, on the wrong host, or
for queues that are not its own. Who can write to the store itself needs no token.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from django_jobqueue.conf import conf, is_token_entry
from django_jobqueue.exceptions import WorkerNotAllowed

logger = logging.getLogger("django_jobqueue.worker")

TOKEN = "JOBQUEUE_WORKER_TOKEN"  # noqa: S105 (a name)
TOKEN_FILE = "JOBQUEUE_WORKER_TOKEN_FILE"  # noqa: S105
"""Environment variables: the token, or the path of a file that has it (a mounted secret). The file comes first."""
_PREFIX = "jqw_"
"""So that scanners for leaked secrets can know one."""


def new_token() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What goes into the settings."""
    return f"sha256${hashlib.sha256(token.encode()).hexdigest()}"


def verify_worker_token(token: str, queues: Iterable[str] = ()) -> bool:
    """Whether this token admits a worker of these queues; none are all. True when the settings ask for no token.

    All entries are compared, each in constant time. An entry that is malformed admits nobody.
    """
    entries = conf().WORKER_TOKENS
    if not entries:
        return True
    wanted, given, is_admitted = set(queues), token_hash(token), False
    for entry in entries:
        if not is_token_entry(entry):
            continue
        known, scope = (entry, None) if isinstance(entry, str) else (entry["hash"], entry.get("queues"))
        is_known = hmac.compare_digest(known, given)
        in_scope = scope is None or (bool(wanted) and wanted <= set(scope))
        is_admitted |= is_known and in_scope
    return is_admitted


def own_token() -> str:
    """The token of this process, read anew each time: a rotated file needs no restart. Empty when it has none."""
    path = os.environ.get(TOKEN_FILE)
    if not path:
        return os.environ.get(TOKEN, "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise WorkerNotAllowed(f"the file named in {TOKEN_FILE} can't be read: {type(error).__name__}") from None


def admit(queues: Iterable[str]) -> None:
    """Raise `WorkerNotAllowed` unless this process may serve these queues."""
    if not conf().WORKER_TOKENS:
        return
    names, token = tuple(queues), own_token()
    if not token:
        raise WorkerNotAllowed(f"this project's workers need a token: set {TOKEN_FILE} or {TOKEN}")
    if not verify_worker_token(token, names):
        where = ", ".join(names) or "all queues"
        logger.warning("A worker of %s was not admitted: its token is unknown, or not for them.", where)
        raise WorkerNotAllowed(f"the token of this worker is unknown, or not for {where}")
