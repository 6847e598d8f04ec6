"""Where a server runs: an operating-system user, a directory, and the processes in it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

START_TIMEOUT = 60.0  # seconds; a loaded CI machine needs more than the usual one or two
LOOPBACK = "127.0.0.1"
OUR_PORTS = range(20_000, 32_000)
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
        return subprocess.Popen([str(part) for part in command], **{"stdin": subprocess.DEVNULL, **options})

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
        self.make(self.path)

    def make(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        if self.account.uid is not None:
            os.chown(directory, self.account.uid, self.account.gid)

    @property
    def log(self) -> Path:
        return self.path / "log"

    def spawn(self, command: list[str | Path], **options) -> subprocess.Popen:
        environment = os.environ | {"HOME": str(self.path), "LC_ALL": "C"}
        with self.log.open("ab") as log:
            process = self.account.spawn(command, cwd=self.path, stdout=log, stderr=log, env=environment, **options)
        self.processes.append(process)
        return process

    def run(self, command: list[str | Path]) -> None:
        if code := self.spawn(command).wait(START_TIMEOUT):
            raise Missing(f"{Path(command[0]).name} ended with {code}: {self.last_words()}")

    def serve(self, command: list[str | Path], ready: Callable[[], bool], **options) -> subprocess.Popen:
        process, deadline = self.spawn(command, **options), time.monotonic() + START_TIMEOUT
        while not ready():
            if process.poll() is not None:
                raise Missing(f"{Path(command[0]).name} ended with {process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Missing(f"{Path(command[0]).name} was not ready after {START_TIMEOUT:.0f} s: {self.last_words()}")
            time.sleep(0.01)
        return process

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


def ask(address: Path | int, question: bytes = b"", seconds: float = 1.0) -> bytes:
    """What a server on a unix socket or a loopback port answers, or nothing while it is not there yet."""
    is_file = isinstance(address, Path)
    with socket.socket(socket.AF_UNIX if is_file else socket.AF_INET) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(address) if is_file else (LOOPBACK, address))
            connection.sendall(question)
            return connection.recv(4096)
        except OSError:
            return b""


def free_ports(count: int) -> list[int]:
    """Ports nobody uses, and that the system gives nobody before they are used: it gives those above 32,768.

    By chance, so that runs beside each other hardly ever choose the same.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(OUR_PORTS, len(OUR_PORTS)):
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            found.append(port)
        if len(found) == count:
            return found
    raise Missing("there is no free port")


def make_directory() -> Path:
    """A fresh directory with a short name that `nobody` can walk through."""
    base = tempfile.gettempdir()
    if len(base) > SOCKET_PATH_LIMIT - 40 or os.geteuid() == 0:
        base = "/tmp"  # noqa: S108
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-", dir=base))
    directory.chmod(0o711)
    (directory / "files").mkdir(mode=0o700)
    return directory
