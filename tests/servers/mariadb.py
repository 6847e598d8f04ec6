"""MariaDB, where the machine has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.rooms import Missing, Room, ask, version_of

SOCKET = "mariadb.sock"


def start_mariadb(room: Room) -> dict[str, str]:
    command, version = prepare(room)
    serve(room, command)
    return {"url": url(room), "version": f"MariaDB {version}"}


def prepare(room: Room) -> tuple[list[str | Path], str]:
    """Make an empty data directory in the room; the command that serves it, and the version."""
    binary = find_mariadb()
    installer = shutil.which("mariadb-install-db", path=f"{binary.parent}:{os.environ.get('PATH', '')}:/usr/bin")
    if installer is None:
        raise Missing("mariadbd is here but mariadb-install-db is not")
    data = room.path / "data"
    cheap = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-log-file-size=16M"]
    cheap = [] if room.durable else cheap
    room.run(
        [
            *(installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--skip-name-resolve", *cheap),
        ]
    )
    command = [
        *(binary, "--no-defaults", f"--datadir={data}", f"--socket={room.path / SOCKET}", "--skip-networking"),
        *(f"--pid-file={room.path / 'pid'}", f"--tmpdir={room.path}", "--character-set-server=utf8mb4", *cheap),
    ]
    return command, version_of(binary)


def serve(room: Room, command: Sequence[str | Path], guard: Sequence[str] = (), **how: Any) -> subprocess.Popen:
    return room.serve([*guard, *command], ready=lambda: len(ask(room.path / SOCKET)) > 5, **how)


def url(room: Room) -> str:
    return f"mysql://root@/?unix_socket={room.path / SOCKET}"


def find_mariadb() -> Path:
    if override := os.environ.get("JOBQUEUE_TEST_MARIADB_BIN"):
        return Path(override)
    if found := shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return Path(found)
    raise Missing("no mariadbd")
