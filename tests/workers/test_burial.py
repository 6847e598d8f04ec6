"""What becomes of what a dead child holds, by how it ended."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace

import pytest

from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import Room, WorkerIdentity
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.signals import job_dead
from django_jobqueue.workers.board import Board, Cause, Ending, Seat
from django_jobqueue.workers.burial import bury
from django_jobqueue.workers.hand import PLACES
from django_jobqueue.workers.outbox import Outbox
from tests.queues.hooks import job


@pytest.fixture
def grave():
    """A store, and a child with a worker in it that has ended."""

    class Grave:
        def __init__(self):
            self.queue, self.slot = MemoryQueue("default"), Board(["default"]).slots[0]
            self.worker = WorkerIdentity()
            self.slot.open()
            self.slot.born(os.getpid())
            Seat(self.slot, None, "x").join(self.worker.id)
            self.queue.join(self.worker)

        def takes(self, *payloads):
            self.queue.push(*payloads)
            return self.queue.reserve(["default"], len(payloads), self.worker.id)

        def bury(self, cause, guilty=None):
            self.slot.end(Ending(cause) if guilty is None else Ending(cause, guilty.job_id, guilty.lease_no))
            bury(self.queue, self.slot)
            assert self.slot.is_free

        @property
        def dead(self):
            return {job_id: str(letter.reason) for job_id, letter in self.queue.dead_letters.items()}

        def charged(self, payload):
            found = self.queue.find(payload.id)
            assert (found.room, found.attempt) == (Room.READY, 0)
            return self.queue.jobs[payload.id].crashes

    return Grave()


@pytest.mark.parametrize("cause", [Cause.CRASH, Cause.END])
def test_p5_one_that_must_not_run_twice_is_dead_and_the_others_run_again(grave, cause):
    careful, other = job(crash_budget=1), job()
    grave.takes(careful, other)
    grave.bury(cause)
    assert grave.dead == {careful.id: "worker_lost"}
    assert grave.charged(other) == (1 if cause is Cause.CRASH else 0)


@pytest.mark.parametrize("cause", [Cause.CRASH, Cause.END, Cause.DEADLINE])
def test_p5_who_was_not_started_pays_nothing(grave, cause):
    killer, careful, other = job(), job(crash_budget=1), job()
    outbox = Outbox(grave.slot.hand)
    outbox.receive(grave.takes(killer, careful, other))
    outbox.start_next()
    grave.bury(cause)
    assert grave.dead == {}
    assert [grave.charged(one) for one in (killer, careful, other)] == [int(cause is Cause.CRASH), 0, 0]


def test_p5_what_was_given_back_and_taken_again_is_charged_when_it_was_started(grave):
    first, second = grave.takes(job(), job(crash_budget=1))
    outbox = Outbox(grave.slot.hand)
    outbox.receive([first, second])
    outbox.give_back_unstarted()
    outbox.receive([first, second])
    outbox.start_next()
    outbox.start_next()
    grave.bury(Cause.CRASH)
    assert grave.dead == {second.job_id: "worker_lost"}
    assert grave.queue.jobs[first.job_id].crashes == 1


def test_p5_more_than_a_hand_holds_are_taken_for_started():
    board, most = Board(["default"]), [SimpleNamespace(job_id=uuid7()) for _ in range(PLACES + 3)]
    hand = board.slots[0].hand
    hand.receive(most[:2])
    hand.start(0)
    hand.receive(most[2:])
    assert [hand.holds(one.job_id) for one in most[:4]] == [False, False, False, True]
    hand.start(PLACES - 1)
    assert [hand.holds(one.job_id) for one in most[3:5]] == [False, True]
    hand.clear()
    assert not any(hand.holds(one.job_id) for one in most)


def test_one_that_was_cancelled_and_had_to_be_killed_is_said_to_be_cancelled(grave, caplog):
    """Its attempts are spent, so that it would be dead: the store says otherwise, and so must logs and signals."""
    told = []
    (deaf,) = grave.takes(job(max_attempts=1))
    grave.queue.request_cancel(deaf.job_id, kill=True)
    job_dead.connect(lambda **_: told.append(1), weak=False, dispatch_uid="cancelled")
    try:
        with caplog.at_level(logging.INFO):
            grave.bury(Cause.DEADLINE, deaf)
    finally:
        job_dead.disconnect(dispatch_uid="cancelled")
    assert not told
    assert "was cancelled" in caplog.text
    assert "is dead" not in caplog.text
    assert [record.outcome for record in grave.queue.history] == ["cancelled"]
