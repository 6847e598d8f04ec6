"""The proxy does what it is told, and counts what it has met."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.chaos.proxy import Proxy
from tests.servers.rooms import make_directory
from tests.waiting import wait_until


class Echo(threading.Thread):
    """A server that gives back what it gets, and remembers it."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.heard = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                while data := connection.recv(1024):
                    self.heard.append(data)
                    connection.sendall(data)
            except OSError:
                pass


@pytest.fixture
def echo():
    directory = make_directory()  # its name is short enough for a socket
    server = Echo(directory / "echo")
    server.start()
    yield server
    server.listener.close()
    shutil.rmtree(directory)


@pytest.fixture
def proxy(echo):
    one = Proxy(echo.listener.getsockname(), rb"write")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as one:
        yield one


def ask(client, words=b"read"):
    client.sendall(words)
    return client.recv(1024)


def test_nothing_is_wrong_at_first(proxy, client):
    assert ask(client) == b"read"
    assert proxy.touched == 0


def test_slow(proxy, client):
    proxy.slow_down(0.1)
    begun = time.monotonic()
    assert ask(client) == b"read"
    assert time.monotonic() - begun >= 0.2, "there and back"
    assert proxy.touched == 2


def test_silent_until_it_is_healed_and_then_all_arrives(proxy, client, echo):
    assert ask(client) == b"read"
    proxy.go_silent()
    client.sendall(b"late")
    wait_until(lambda: proxy.touched, "the request is held back")
    assert echo.heard == [b"read"]
    proxy.heal()
    assert client.recv(1024) == b"late"


def test_reset(proxy, client):
    assert ask(client) == b"read"
    proxy.reset()
    assert proxy.touched == 1
    with pytest.raises(ConnectionResetError):
        ask(client)


def test_the_answer_to_a_write_is_swallowed_and_the_write_is_done(proxy, client, echo):
    proxy.swallow_replies(1)
    assert ask(client) == b"read", "only writes are meant"
    with pytest.raises(ConnectionResetError):
        ask(client, b"write")
    assert echo.heard == [b"read", b"write"]
    wait_until(lambda: proxy.touched == 1)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as another:
        assert ask(another, b"write") == b"write", "it was the one"


def test_a_server_that_is_away_ends_the_connection(proxy):
    proxy.server = "/nowhere"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client, suppress(OSError):
        assert ask(client) == b""
