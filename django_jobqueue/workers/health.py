"""What a probe is told of a `queue_work`: in a file that is written each second, or over HTTP.

It comes from the heart, or without one from the worker's own process: never from the parent, which has neither thread
nor socket. Nobody asks the store for it. Alive means that the processes get on with it: the command is to be killed
when they don't. Ready means that the stores know the workers and these take jobs: not while they stop, nor when a store
is away. A store that is away is no reason to kill anybody.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from django_jobqueue.workers.background import Chore
from django_jobqueue.workers.board import Board
from django_jobqueue.workers.process import is_frozen
from django_jobqueue.workers.worker import Worker

logger = logging.getLogger("django_jobqueue.worker")

EVERY = 1.0
"""Seconds between two looks."""
STUCK_SECONDS = 15.0
"""A process that has not been heard for so long does not get on."""
_CLIENT_SECONDS = 2.0


class Health(NamedTuple):
    """`dead` says why it is not alive, `busy` why it is not ready."""

    dead: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        return not self.dead

    @property
    def is_ready(self) -> bool:
        return not (self.dead or self.busy)

    def __str__(self) -> str:
        """A first line for programs, `ready`, `not ready` or `dead`, then the reasons."""
        head = "ready" if self.is_ready else "not ready" if self.is_alive else "dead"
        return "\n".join([head, *self.dead, *self.busy, ""])


class Asked(NamedTuple):
    """What the command line asks for: a file, an address to listen on, both or none."""

    file: Path | None = None
    address: tuple[str, int] | None = None

    def __bool__(self) -> bool:
        return self.file is not None or self.address is not None


def health_of_board(board: Board, aliases: Sequence[str], parent: int, now: float, lease_now: float) -> Health:
    """Of a parent with children, as its heart sees it. `now` is on the monotonic clock, `lease_now` on the leases'."""
    dead = []
    if now - board.heart_beat_at > STUCK_SECONDS:
        dead.append("the heart is stuck")
    if is_frozen(parent) or _is_overdue(board, now):
        dead.append("the parent is stuck")
    unknown = [alias for alias in aliases if not _has_worker(board, alias, lease_now)]
    return Health(tuple(dead), tuple(f"no worker of {alias!r} takes jobs" for alias in unknown))


def _is_overdue(board: Board, now: float) -> bool:
    """A child that should have been killed long ago."""
    deadlines = [slot.deadline for slot in board.slots if slot.is_lived_in]
    return any(one is not None and now - one.at > STUCK_SECONDS for one in deadlines)


def _has_worker(board: Board, alias: str, now: float) -> bool:
    lived_in = [slot for slot in board.of(alias) if slot.is_lived_in and slot.worker is not None]
    return any(slot.alive_until > now and slot.report.state == "running" for slot in lived_in)


def health_of_worker(worker: Worker) -> Health:
    """Of a worker without a parent. It may be busy with one job for hours, so being asked is its only sign of life."""
    if worker.is_stopping:
        return Health(busy=("it stops",))
    if worker.is_quiet:
        return Health(busy=("it is quiet",))
    return Health() if worker.is_known else Health(busy=(f"the store {worker.queue.alias!r} does not know it",))


def check(asked: Asked) -> None:
    """Raise `OSError` for a port that is taken and a directory that can't be written to, before anything is started."""
    if asked.address is not None:
        socket.create_server(asked.address).close()
    if asked.file is not None and not os.access(asked.file.parent, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(asked.file.parent))


class Probes(Chore):
    """Looks each second, and tells whoever asks. The file is gone when it ends, the port is closed."""

    first_pause = 0.0

    def __init__(self, look: Callable[[], Health], asked: Asked) -> None:
        super().__init__("jobqueue-health", EVERY)
        self._look = look
        self._asked = asked
        self._server: _Server | None = None
        self.health = Health(busy=("it starts",))
        self.seen_at = time.monotonic()

    def once(self) -> None:
        self.health, self.seen_at = self._look(), time.monotonic()
        if self._asked.address is not None and self._server is None:
            self._serve(self._asked.address)
        if self._asked.file is not None:
            self._write(self._asked.file)

    def run(self) -> None:
        try:
            super().run()
        finally:
            if self._asked.file is not None:
                self._asked.file.unlink(missing_ok=True)
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()

    def _write(self, file: Path) -> None:
        """Whole or not at all: a probe must not read half of it."""
        part = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            part.write_text(str(self.health), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            logger.warning("The health file %s can't be written (%s).", file, error.strerror)
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _serve(self, address: tuple[str, int]) -> None:
        try:
            self._server = _Server(address, self)
        except OSError as error:  # the heart before this one may not have let go of it yet
            logger.warning("Nothing can listen on port %d (%s); trying again.", address[1], error.strerror)
            return
        Thread(target=self._server.serve_forever, args=(0.25,), daemon=True, name="jobqueue-health-port").start()

    def answer(self, path: str) -> tuple[HTTPStatus, str]:
        """What a path is told; the look must be fresh, or nobody looks any more."""
        health = self.health
        if time.monotonic() - self.seen_at > STUCK_SECONDS:
            health = Health(dead=("nobody looks any more",))
        fits = {"/livez": health.is_alive, "/readyz": health.is_ready}.get(path.partition("?")[0])
        if fits is None:
            return HTTPStatus.NOT_FOUND, "Ask for /livez or /readyz.\n"
        return HTTPStatus.OK if fits else HTTPStatus.SERVICE_UNAVAILABLE, str(health)


@contextmanager
def told(look: Callable[[], Health], asked: Asked) -> Iterator[None]:
    """Probes are told inside, if there are any."""
    if not asked:
        yield
        return
    probes = Probes(look, asked)
    probes.start()
    try:
        yield
    finally:
        probes.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], probes: Probes) -> None:
        self.probes = probes
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("A probe went away.", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS
    server: _Server
    server_version, sys_version = "queue_work", ""

    def do_GET(self) -> None:
        status, text = self.server.probes.answer(self.path)
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("Probe: %s", format % args)
