"""How an idle worker waits for jobs in Redis: one subscription per process, and looking again behind it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from django_jobqueue.queues.bell import Bell
from django_jobqueue.queues.redis.connection import Connection
from django_jobqueue.queues.redis.failures import REDIS_ERRORS

logger = logging.getLogger("django_jobqueue.queues")

STEP_SECONDS = 0.2
"""The longest a waiter sleeps without asking whether it was told to stop."""
PING_SECONDS = 10.0
"""How often the subscription is proved to be alive. A half-open connection looks like one on which nothing happens."""
RETRY_SECONDS = 2.0
AT_ONCE_SECONDS = 0.001
"""A word that was there sooner may be one of many. Who slept until it came is not kept from the job."""
_MOST_WORDS = 10_000


class Waiter:
    """Listens on one channel. One thread at a time does; others that wait meanwhile only sleep."""

    def __init__(self, connection: Connection, channel: str, bell: Bell) -> None:
        self._connection = connection
        self._channel = channel
        self._bell = bell
        self._busy = threading.Lock()
        self._listener: Any = None
        self._owner = 0
        self._retry_at = 0.0
        self._heard_at = 0.0
        self._asked_at = 0.0

    def wake(self) -> None:
        self._bell.ring()

    def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """True when something may have happened before the timeout."""
        if self._bell.wait(0):
            return True
        if not self._busy.acquire(blocking=False):
            return self._bell.wait(timeout)
        try:
            if self._is_deaf():  # what was said until it listens nobody heard: look first
                return self._listen() or self._bell.wait(min(timeout, self._until_retry()))
            return self._hear({name.encode() for name in queues}, timeout)
        except REDIS_ERRORS as error:
            logger.warning("The wake-up connection was lost (%s); polling until it is back.", error)
            self._forget()
            return True
        finally:
            self._busy.release()

    def close(self) -> None:
        with self._busy:
            self._forget()

    def _is_deaf(self) -> bool:
        return self._listener is None or self._owner != os.getpid()

    def _until_retry(self) -> float:
        return max(0.0, self._retry_at - time.monotonic())

    def _listen(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        self._retry_at = time.monotonic() + RETRY_SECONDS
        listener = self._connection.listener()
        listener.subscribe(self._channel)
        self._listener, self._owner = listener, os.getpid()
        self._heard_at = self._asked_at = time.monotonic()
        return True

    def _hear(self, queues: set[bytes], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while (left := deadline - (asked_at := time.monotonic())) > 0:
            message = self._listener.get_message(timeout=min(left, STEP_SECONDS))
            if message is not None:
                self._heard_at = time.monotonic()
                if message["type"] == "message" and self._concerns(message["data"], queues):
                    if self._heard_at - asked_at < AT_ONCE_SECONDS:
                        self._drop_the_rest()
                    return True
            if self._bell.wait(0):
                return True
            self._prove_alive()
        return False

    def _drop_the_rest(self) -> None:
        """Whoever is awake looks for jobs; what else was said until now need not wake it again."""
        for _ in range(_MOST_WORDS):
            if self._listener.get_message(timeout=0) is None:
                return

    def _concerns(self, queue: bytes, queues: set[bytes]) -> bool:
        return not queue or not queues or queue in queues

    def _prove_alive(self) -> None:
        now = time.monotonic()
        if now - self._heard_at > 2 * PING_SECONDS:
            raise ConnectionError("no answer on the wake-up connection")
        if now - self._heard_at > PING_SECONDS and now - self._asked_at > PING_SECONDS:
            self._asked_at = now
            self._listener.ping()

    def _forget(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None or self._owner != os.getpid():
            return
        try:
            if listener.connection is not None:
                listener.connection.disconnect()  # close() alone keeps it for the next one, subscribed
            listener.close()
        except REDIS_ERRORS:
            logger.debug("The wake-up connection could not be closed.", exc_info=True)
