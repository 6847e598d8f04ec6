"""A server for one test, which may kill it: what it acknowledged is on the disk, and it comes back with it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.servers.redis import find_redis, serve, url
from tests.servers.rooms import Account, Room

_numbers = itertools.count()

# Becomes the server; its child takes the server with it when standard input ends. So a test that was killed itself
# leaves no server behind.
GUARD = """exec 3<&0; { read line <&3; kill -9 $$; } & exec "$@" </dev/null 3<&-"""


class DurableRedis:
    """A Valkey or Redis with an append-only file, synced before each answer (`always`) or every second (`everysec`).

    with DurableRedis() as server: ... server.kill() ... server.start()
    """

    def __init__(self, fsync: str = "always", binary: Path | None = None) -> None:
        # below the keeper's directory: it goes with it at the latest
        directory = Path(os.environ["JOBQUEUE_TEST_DIR"], f"redis-{os.getpid()}-{next(_numbers)}")
        self._room = Room(directory, Account())
        self._binary = binary or find_redis()
        self._log = f"--appendonly yes --appendfsync {fsync}"
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return url(self._room)

    def start(self) -> None:
        """On the same directory and address; returns when it answers."""
        assert self._process is None, "it runs"
        self._process = serve(
            self._room, self._binary, self._log, guard=["sh", "-c", GUARD, "sh"], stdin=subprocess.PIPE
        )

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        assert self._process is not None, "it does not run"
        self._process.stdin.close()
        self._process.wait(10)
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> DurableRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self.kill()
        shutil.rmtree(self._room.path, ignore_errors=True)
