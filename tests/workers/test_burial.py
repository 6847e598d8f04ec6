"""What becomes of what a dead child holds, by how it ended."""

from __future__ import annotations

import os

import pytest

from django_jobqueue.queues.base import Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.workers.board import Board, Cause, Ending, Seat
from django_jobqueue.workers.burial import bury
from tests.queues.hooks import job


@pytest.mark.parametrize("cause", [Cause.CRASH, Cause.END])
def test_p5_one_that_must_not_run_twice_is_dead_and_the_others_run_again(cause):
    queue, board = MemoryQueue("default"), Board(["default"])
    slot, worker = board.slots[0], WorkerIdentity()
    slot.open()
    slot.born(os.getpid())
    Seat(slot, board, "x").join(worker.id)
    queue.join(worker)
    careful, other = job(crash_budget=1), job()
    queue.push(careful, other)
    queue.reserve(["default"], 2, worker.id)
    slot.end(Ending(cause))
    bury(queue, slot)
    assert slot.is_free
    assert [str(letter.reason) for letter in queue.dead_letters.values()] == ["worker_lost"]
    found = queue.find(other.id)
    assert (found.room, found.attempt) == (Room.READY, 0)
    assert queue.jobs[other.id].crashes == (1 if cause is Cause.CRASH else 0)
