"""The board: processes that may be killed at any moment read each other's words whole, or the ones before."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from struct import Struct
from uuid import UUID, uuid4

import pytest

from django_jobqueue.queues.base import WorkerReport
from django_jobqueue.workers.blocks import Block
from django_jobqueue.workers.board import Board, Cause, Command, Deadline, Ending, Seat
from tests.waiting import wait_until

fork = multiprocessing.get_context("fork")


def seated(board, number=0):
    """A child that has just been started, and its seat."""
    slot = board.slots[number]
    slot.open()
    slot.born(1000 + number)
    return Seat(slot, board, f"host:1/{number}")


@pytest.fixture
def board():
    return Board(["default", "default", "fast"])


def test_a_child_says_who_it_is_and_what_it_does(board):
    seat, worker = seated(board), uuid4()
    assert (seat.slot.worker, seat.slot.report, seat.slot.deadline) == (None, WorkerReport(), None)
    seat.join(worker)
    seat.say(WorkerReport("shop.tasks.pay", 7, 2, 4_096, stopping=True, quiet=True))
    seat.watch(Deadline(12.5, worker, 3))
    assert seat.slot.worker == worker
    assert seat.slot.report == WorkerReport("shop.tasks.pay", 7, 2, 4_096, stopping=True, quiet=True)
    assert seat.slot.deadline == Deadline(12.5, worker, 3)
    seat.watch(None)
    seat.leave()
    assert (seat.slot.worker, seat.slot.deadline) == (None, None)


@pytest.mark.parametrize(
    "text", ["", "ü" * 500, "x" * 500, "\0x", "a\ud800b"], ids=["none", "wide", "long", "nul", "surrogate"]
)
def test_what_runs_is_cut_to_size_whatever_it_is(board, text):
    seat = seated(board)
    seat.say(WorkerReport(text))
    assert seat.slot.report.running in text.replace("\ud800", "") + "\0"


def test_a_slot_that_nobody_had_says_nothing(board):
    slot = board.slots[0]
    assert (slot.worker, slot.report, slot.deadline, slot.dead) == (None, WorkerReport(), None, None)
    assert (slot.command, slot.is_lived_in, slot.has_ended, slot.is_free) == (Command.NONE, False, False, True)


def test_slots_are_independent(board):
    seats, workers = [seated(board, n) for n in range(3)], [uuid4() for _ in range(3)]
    for seat, worker in zip(seats, workers, strict=True):
        seat.join(worker)
        seat.watch(Deadline(1.0, worker, 1))
        seat.slot.alive_until = 5.0
    assert [seat.slot.worker for seat in seats] == workers
    assert [slot.alias for slot in board.slots] == ["default", "default", "fast"]
    assert board.free("default") is None


def test_a_slot_is_free_again_when_its_child_is_buried(board):
    seat = seated(board)
    assert seat.slot.is_lived_in
    assert board.free("default") is board.slots[1]
    job_id = uuid4()
    seat.slot.end(Ending(Cause.DEADLINE, job_id, 4))
    assert seat.slot.has_ended
    assert not seat.slot.is_free
    assert seat.slot.ending == Ending(Cause.DEADLINE, job_id, 4)
    seat.slot.bury(seat.slot.life)
    assert board.free("default") is seat.slot


def test_nothing_of_a_life_reaches_the_next(board):
    old = seated(board)
    old.join(uuid4())
    old.say(WorkerReport("task", 1, 1, 1))
    old.watch(Deadline(1.0, uuid4(), 1))
    old.finishing()
    old.slot.end(Ending(Cause.END))
    old.slot.bury(old.life)
    new = seated(board)
    old.slot.order(Command.STOP, old.life)  # the heart was slow
    slot = new.slot
    assert (slot.worker, slot.report, slot.deadline) == (None, WorkerReport(), None)
    assert (slot.command, slot.is_finishing, slot.ending) == (Command.NONE, False, Ending(Cause.CRASH))
    slot.order(Command.QUIET, new.life)
    assert slot.command is Command.QUIET


def test_a_child_is_called_and_doomed_and_the_next_is_not(board):
    seat = seated(board)
    before = seat.slot.attention
    seat.slot.call_attention()
    assert seat.slot.attention != before
    seat.slot.doom(seat.life)
    seat.slot.retire()
    assert (seat.slot.is_doomed, seat.slot.is_retired) == (True, True)
    seat.slot.end(Ending(Cause.END))
    seat.slot.bury(seat.life)
    fresh = seated(board)
    assert (fresh.slot.is_doomed, fresh.slot.is_retired) == (False, False)


def test_a_store_has_a_number_of_children_that_it_should_have(board):
    assert (board.target("default"), board.target("fast")) == (None, None)
    board.scale("fast", 3)
    assert (board.target("default"), board.target("fast")) == (None, 3)


def test_the_heart_and_the_parent_are_heard(board):
    seat, worker = seated(board), uuid4()
    assert (seat.slot.dead, seat.wish, board.heart_beat_at) == (None, (0, Command.NONE), 0.0)
    seat.slot.alive_until, seat.slot.dead = 99.25, worker
    board.tell(Command.QUIET)
    board.heart_beat_at = 3.5
    assert (seat.slot.alive_until, seat.slot.dead) == (99.25, worker)
    assert (seat.wish, board.heart_beat_at) == ((1, Command.QUIET), 3.5)
    board.tell(Command.QUIET)
    assert seat.wish == (2, Command.QUIET)  # said again: it may have been told otherwise meanwhile


# other processes


def write_for_ever(seat):
    for n in range(10**9):
        word = n.to_bytes(8, "little")
        seat.join(UUID(bytes=word + word))


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_killed_in_the_middle_of_a_word_leaves_a_whole_one(board, seed):
    chance = random.Random(seed)
    for _ in range(15):
        seat = seated(board)
        child = fork.Process(target=write_for_ever, args=(seat,))
        child.start()
        wait_until(lambda seat=seat: seat.slot.worker)
        until = time.monotonic() + chance.uniform(0.0, 0.01)
        while time.monotonic() < until:
            assert is_whole(seat.slot.worker)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert is_whole(seat.slot.worker)
        seat.join(worker := uuid4())  # and whoever writes next is not held up
        assert seat.slot.worker == worker
        seat.slot.end(Ending(Cause.CRASH))
        seat.slot.bury(seat.life)


def is_whole(worker):
    return worker is not None and worker.bytes[:8] == worker.bytes[8:]


def test_a_reader_that_is_overtaken_looks_again():
    """The writer comes round to the copy that is being read, in the middle of it."""
    memory, layout = memoryview(bytearray(256)), Struct("<32s")
    writer = Block(memory, 0, layout)
    writer.write(b"a" * 32)

    reader = Block(Overtaking(memory, writer), 0, layout)
    assert reader.read() == (b"c" * 32,)


class Overtaking:
    """Memory in which two values are written while the first copy is read."""

    def __init__(self, memory, writer):
        self._memory, self._writer = memory, writer

    def cast(self, kind):
        return self._memory.cast(kind)

    def __getitem__(self, part):
        if self._writer is None:
            return self._memory[part]
        before = bytes(self._memory[part])
        for letter in (b"b", b"c"):
            self._writer.write(letter * 32)
        self._writer = None
        after = bytes(self._memory[part])
        return before[:20] + after[20:]
