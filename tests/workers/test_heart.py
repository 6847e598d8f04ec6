"""The heart's rounds, against a store that refuses something."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import DataError

from django_jobqueue.workers.board import Board, Cause, Ending, Seat
from django_jobqueue.workers.heart import Beats, Rounds


class Refusing:
    """A store in which one worker can't be declared dead."""

    alias, lease, reports_apart = "default", 30.0, False

    def __init__(self, refused):
        self.refused = refused
        self.reclaims = 0

    def declare_dead(self, worker, innocent):
        if worker == self.refused:
            raise DataError("garbage")
        return 0

    def leases(self, worker):
        return []

    def cancellations(self, *workers):
        return {}

    def heartbeat(self, worker, report):
        if worker == self.refused:
            raise DataError("garbage")
        return True

    def reclaim(self):
        self.reclaims += 1
        return 0


def lives(slot, board):
    worker = uuid4()
    slot.open()
    Seat(slot, board, "name").join(worker)
    return worker


def died(slot, board):
    worker = lives(slot, board)
    slot.end(Ending(Cause.CRASH))
    return worker


def test_a_child_that_cannot_be_buried_holds_up_neither_the_others_nor_the_rest():
    board = Board(["default", "default"])
    first, second = board.slots
    queue = Refusing(died(first, board))
    died(second, board)
    rounds = Rounds(board, queue)
    rounds._next_reclaim = 0.0
    with pytest.raises(DataError):  # so it is logged, and tried again ever more seldom
        rounds.once()
    assert second.is_free
    assert first.has_ended
    assert queue.reclaims == 1


def test_a_child_whose_heartbeat_is_refused_holds_up_none_of_the_others():
    board = Board(["default", "default"])
    first, second = board.slots
    beats = Beats(board, Refusing(lives(first, board)))
    lives(second, board)
    with pytest.raises(DataError):
        beats.once()
    assert first.alive_until == 0.0
    assert second.alive_until > 0.0
