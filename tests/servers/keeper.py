"""The keeper: one process that starts the servers and owns them while its standard input is open."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.servers.cluster import start_cluster
from tests.servers.mariadb import start_mariadb
from tests.servers.postgres import start_postgres
from tests.servers.redis import start_redis, start_redis62
from tests.servers.rooms import Account, Missing, Room, make_directory

DURABLE = "--durable"
STARTERS = {
    "postgres": start_postgres,
    "redis": start_redis,
    "redis62": start_redis62,
    "cluster": start_cluster,
    "mariadb": start_mariadb,
}


def start(name: str, directory: Path, rooms: list[Room], durable: bool) -> dict[str, str]:
    room = Room(directory / name, Account.for_servers(), durable)
    rooms.append(room)
    try:
        return STARTERS[name](room)
    except (Missing, OSError, KeyError) as error:
        return {"missing": str(error) or type(error).__name__}


def keep(names: list[str], durable: bool) -> None:
    """Start the named servers together, report them, and hold them until standard input ends."""
    directory, rooms = make_directory(), []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        with ThreadPoolExecutor(len(STARTERS)) as pool:  # PostgreSQL and MariaDB need a second each
            started = pool.map(lambda name: start(name, directory, rooms, durable), names)
            services = dict(zip(names, started, strict=True))
        report(directory, services)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()
    finally:
        for room in rooms:
            room.stop()
        shutil.rmtree(directory, ignore_errors=True)


def report(directory: Path, services: dict[str, dict[str, str]]) -> None:
    if not sys.stdin.isatty():
        print(json.dumps({"directory": str(directory), "services": services}), flush=True)
        return
    print(f"export JOBQUEUE_TEST_DIR={directory}/files")
    for name, service in services.items():
        if "url" in service:
            print(f"export JOBQUEUE_TEST_{name.upper()}_URL='{service['url']}'   # {service['version']}")
        else:
            print(f"# no {name}: {service['missing']}")
    print("# running; Ctrl-C stops them", flush=True)


@dataclass
class Found:
    """What the keeper answered: a directory for files, and per service either url and version or why it is missing."""

    keeper: subprocess.Popen
    directory: Path
    services: dict[str, dict[str, str]]

    def environment(self) -> dict[str, str]:
        """The variables `tests/settings.py` reads; children inherit them."""
        urls = {f"JOBQUEUE_TEST_{name.upper()}_URL": s["url"] for name, s in self.services.items() if "url" in s}
        return {"JOBQUEUE_TEST_DIR": str(self.directory / "files"), **urls}

    def stop(self) -> None:
        self.keeper.stdin.close()
        self.keeper.wait(60)
        self.keeper.stdout.close()


def launch(names: set[str], durable: bool = False) -> Found:
    """Start a keeper with these servers and wait for its report."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.servers", *([DURABLE] if durable else []), *(sorted(names) or ["none"])],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests; their databases must outlive the teardown
    )
    line = keeper.stdout.readline()
    if not line:
        raise RuntimeError(f"tests.servers ended with {keeper.wait()} before it reported")
    answer = json.loads(line)
    return Found(keeper, Path(answer["directory"]), answer["services"])


@contextlib.contextmanager
def running(names: set[str], durable: bool = False) -> Iterator[Found]:
    found = launch(names, durable)
    try:
        yield found
    finally:
        found.stop()
