"""MariaDB, where the machine has it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.servers.rooms import Missing, Room, ask, version_of


def start_mariadb(room: Room) -> dict[str, str]:
    binary = find_mariadb()
    installer = shutil.which("mariadb-install-db", path=f"{binary.parent}:{os.environ.get('PATH', '')}:/usr/bin")
    if installer is None:
        raise Missing("mariadbd is here but mariadb-install-db is not")
    data, listening = room.path / "data", room.path / "mariadb.sock"
    cheap = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-log-file-size=16M"]
    cheap = [] if room.durable else cheap
    room.run(
        [
            *(installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--skip-name-resolve", *cheap),
        ]
    )
    room.serve(
        [
            *(binary, "--no-defaults", f"--datadir={data}", f"--socket={listening}", "--skip-networking"),
            *(f"--pid-file={room.path / 'pid'}", f"--tmpdir={room.path}", "--character-set-server=utf8mb4", *cheap),
        ],
        ready=lambda: len(ask(listening)) > 5,
    )
    return {"url": f"mysql://root@/?unix_socket={listening}", "version": f"MariaDB {version_of(binary)}"}


def find_mariadb() -> Path:
    if override := os.environ.get("JOBQUEUE_TEST_MARIADB_BIN"):
        return Path(override)
    if found := shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return Path(found)
    raise Missing("no mariadbd")
