"""`queue_work --health-file --health-port`: what probes are told of a command that works, waits, hangs, ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from argparse import ArgumentTypeError
from contextlib import suppress
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.management.arguments import address
from django_jobqueue.queues.base import WorkerReport
from django_jobqueue.workers import health
from django_jobqueue.workers.board import Board, Deadline, Seat
from django_jobqueue.workers.health import Asked, Health, Probes, health_of_board
from tests.crash import tasks
from tests.crash.fixtures import REDIS, SQLITE
from tests.crash.processes import terminate
from tests.servers.rooms import free_ports
from tests.waiting import wait_until
from tests.workers.test_supervisor import processes_of

NOW = 1_000.0
LIVEZ, READYZ = "livez", "readyz"


# what is told of a board


@pytest.fixture
def board():
    """Of two stores with a child each; the heart has just beaten."""
    board = Board(["one", "two"])
    board.heart_beat_at = NOW
    for slot in board.slots:
        slot.open()
        slot.born(os.getpid())
    return board


def seat(slot, alive_until=NOW + 10, **report):
    mine = Seat(slot, None, "w")
    mine.join(uuid7())
    mine.say(WorkerReport(**report))
    slot.alive_until = alive_until
    return mine


def told(board, now=NOW):
    return health_of_board(board, ["one", "two"], os.getpid(), now, now)


def test_ready_is_who_has_a_worker_in_every_store(board):
    assert told(board) == Health(busy=("no worker of 'one' takes jobs", "no worker of 'two' takes jobs"))
    seat(board.slots[0])
    assert told(board) == Health(busy=("no worker of 'two' takes jobs",))
    seat(board.slots[1])
    assert told(board) == Health()
    assert (told(board).is_alive, told(board).is_ready, str(told(board))) == (True, True, "ready\n")


@pytest.mark.parametrize("how", [{"alive_until": NOW - 0.1}, {"stopping": True}, {"quiet": True}])
def test_not_ready_is_whose_store_is_silent_and_who_stops_or_is_quiet(board, how):
    seat(board.slots[0])
    seat(board.slots[1], **how)
    health = told(board)
    assert (health.is_alive, health.is_ready) == (True, False)
    assert str(health) == "not ready\nno worker of 'two' takes jobs\n"


def test_dead_is_who_has_a_heart_that_is_stuck(board):
    health = told(board, NOW + 16)
    assert health.dead == ("the heart is stuck",)
    assert not health.is_ready
    assert str(health).startswith("dead\n")


def test_dead_is_who_has_a_parent_that_kills_nobody(board):
    mine = seat(board.slots[0])
    mine.watch(Deadline(NOW - 14, UUID(int=7), 1))
    assert told(board).is_alive
    mine.watch(Deadline(NOW - 16, UUID(int=7), 1))
    assert told(board).dead == ("the parent is stuck",)


# file and port


def free_port():
    return free_ports(1)[0]


def ask(port, path=READYZ, **request):
    question = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", **request)  # noqa: S310 (one of ours)
    try:
        with urllib.request.urlopen(question, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.fixture
def probes(tmp_path):
    """`probes(health)`: they are told this."""
    started = []

    def start(look):
        asked = Asked(tmp_path / "health", ("127.0.0.1", free_port()))
        started.append(Probes(look, asked))
        started[-1].start()
        wait_until(lambda: ask(asked.address[1])[0], "the port answers")
        return asked.file, asked.address[1], started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.mark.parametrize(
    ("health", "alive", "ready"),
    [
        (Health(), 200, 200),
        (Health(busy=("it stops",)), 200, 503),
        (Health(dead=("the heart is stuck",)), 503, 503),
    ],
)
def test_file_and_port_tell_the_same(probes, health, alive, ready):
    file, port, _ = probes(lambda: health)
    wait_until(file.exists, "the file is written")
    assert ask(port, LIVEZ) == (alive, str(health))
    assert ask(port, READYZ) == (ready, str(health))
    assert file.read_text() == str(health)
    assert ask(port, "livez?x=1")[0] == alive
    assert ask(port, "readyz", method="HEAD") == (ready, "")
    assert ask(port, "")[0] == 404
    assert ask(port, LIVEZ, method="POST")[0] == 501


def test_at_the_end_the_file_is_gone_and_the_port_closed(probes):
    file, port, chore = probes(Health)
    chore.stop()
    assert ask(port) == (0, "")
    assert not file.exists()
    assert list(file.parent.iterdir()) == []


def test_who_has_not_looked_for_long_is_dead():
    chore = Probes(Health, Asked())
    assert chore.answer("/livez")[0] == 200
    chore.seen_at -= health.STUCK_SECONDS + 5
    assert chore.answer("/livez")[0] == 503


def test_a_client_that_says_nothing_holds_nobody_up(probes):
    _, port, _ = probes(Health)
    with socket.create_connection(("127.0.0.1", port)):
        assert ask(port)[0] == 200


def test_a_file_that_cannot_be_written_is_told_and_tried_again(probes, tmp_path, caplog):
    file, port, _ = probes(Health)

    def is_in_its_way():
        file.unlink(missing_ok=True)
        with suppress(FileExistsError):  # it was written in between
            file.mkdir()
        return file.is_dir()

    wait_until(is_in_its_way)
    wait_until(lambda: "can't be written" in caplog.text, "it is told")
    file.rmdir()
    wait_until(file.is_file, "it is written")
    assert ask(port)[0] == 200


def test_a_port_is_a_port():
    assert address("8081") == ("", 8081)
    assert address("127.0.0.1:8081") == ("127.0.0.1", 8081)
    for text in ("", "0", "65536", "x", "1:x", "-1", "8081:"):
        with pytest.raises(ArgumentTypeError):
            address(text)


def test_what_cannot_be_served_is_told_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CommandError, match="in use"):
            call_command("queue_work", "--drain", "--health-port", f"127.0.0.1:{port}")
    with pytest.raises(CommandError, match=r"health-file.*(denied|No such)"):
        call_command("queue_work", "--drain", "--health-file", str(tmp_path / "nowhere" / "health"))
    with pytest.raises(CommandError, match="--autoreload works without probes"):
        call_command("queue_work", "--autoreload", "--health-file", str(tmp_path / "health"))


# real commands

slow = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")]


class TestACommand:
    pytestmark = [*slow, pytest.mark.parametrize("alias", [SQLITE, REDIS])]

    @pytest.fixture
    def port(self):
        return free_port()

    def test_it_is_ready_when_it_works_and_silent_when_it_has_ended(self, crew, port, tmp_path):
        file = tmp_path / "health"
        stage, parent = crew("--health-port", f"127.0.0.1:{port}", "--health-file", str(file))
        wait_until(lambda: ask(port) == (200, "ready\n"), "it is ready")
        assert ask(port, LIVEZ)[0] == 200
        wait_until(lambda: file.exists() and file.read_text() == "ready\n", "the file says so")
        gate = stage.directory / "gate"
        stage.push(tasks.gated, "long", str(gate))
        stage.wait_for("start")
        parent.send_signal(signal.SIGTERM)
        wait_until(lambda: ask(port)[0] == 503, "it stops")
        assert ask(port, LIVEZ)[0] == 200
        gate.touch()
        code, _, err = terminate(parent)
        assert code == 0, err
        assert ask(port) == (0, "")
        assert not file.exists()

    def test_a_heart_that_is_killed_is_followed_by_one_that_answers(self, crew, port):
        _stage, parent = crew("--health-port", f"127.0.0.1:{port}")
        wait_until(lambda: ask(port)[0] == 200, "it is ready")
        heart = processes_of(parent)[0]
        os.kill(heart, signal.SIGKILL)
        wait_until(lambda: heart not in processes_of(parent), "the heart is gone")
        wait_until(lambda: ask(port)[0] == 200, "the next one answers")
        assert terminate(parent)[0] == 0

    def test_a_parent_that_is_frozen_is_not_alive(self, crew, port):
        _stage, parent = crew("--health-port", f"127.0.0.1:{port}")
        wait_until(lambda: ask(port)[0] == 200, "it is ready")
        parent.send_signal(signal.SIGSTOP)
        wait_until(lambda: ask(port, LIVEZ) == (503, "dead\nthe parent is stuck\n"), "it is told")
        parent.send_signal(signal.SIGCONT)
        wait_until(lambda: ask(port, LIVEZ)[0] == 200, "it goes on")
        assert terminate(parent)[0] == 0

    def test_a_worker_without_parent_tells_the_same(self, crew, port, tmp_path):
        stage, worker = crew("--health-port", f"127.0.0.1:{port}", processes=0)
        wait_until(lambda: ask(port)[0] == 200, "it is ready")
        worker.send_signal(signal.SIGUSR1)
        wait_until(lambda: ask(port) == (503, "not ready\nit is quiet\n"), "it is quiet")
        worker.send_signal(signal.SIGUSR2)
        wait_until(lambda: ask(port)[0] == 200, "it goes on")
        gate = stage.directory / "gate"
        stage.push(tasks.gated, "long", str(gate))
        stage.wait_for("start")
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: ask(port) == (503, "not ready\nit stops\n"), "it stops")
        assert ask(port, LIVEZ)[0] == 200
        gate.touch()
        assert terminate(worker)[0] == 0
