"""From what children say on the board to how many of them there should be."""

from __future__ import annotations

import os
import time

import pytest

from django_jobqueue import JobPayload
from django_jobqueue.jobs.ids import uuid7
from django_jobqueue.queues.base import WorkerReport
from django_jobqueue.queues.memory import MemoryQueue
from django_jobqueue.signals import backlog_changed
from django_jobqueue.workers import host, scaling
from django_jobqueue.workers.autoscale import GROW_PAUSE, SHRINK_AFTER, Autoscaler
from django_jobqueue.workers.board import Board, Seat
from django_jobqueue.workers.scaling import DECIDE_SECONDS, TICK, Scaling, Work


class Clock:
    now = 1_000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(scaling, "time", clock)
    return clock


@pytest.fixture
def queue():
    return MemoryQueue("default")


@pytest.fixture
def board():
    return Board(["default"] * 12)


def child(board):
    slot = board.free("default")
    slot.open()
    slot.born(os.getpid())
    seat = Seat(slot, board, "x")
    seat.join(uuid7())
    return seat


def push(queue, count, name="default"):
    queue.push(*(JobPayload(task="shop.x", args='{"args":[],"kwargs":{}}', queue=name) for _ in range(count)))


class TestWork:
    def test_a_child_that_works_half_of_the_time_is_busy(self, board, clock):
        work, seats = Work(), [child(board) for _ in range(3)]
        for look in range(8):
            for busy_looks, seat in zip((8, 4, 0), seats, strict=True):
                seat.say(WorkerReport("x" if look < busy_looks else ""))
            work.look(board.slots)
        assert work.sum_up()[0] == 2

    def test_work_that_is_spread_over_many_counts_together(self, board, clock):
        work, seats = Work(), [child(board) for _ in range(8)]
        for look in range(10):
            for seat in seats:
                seat.say(WorkerReport("x" if look < 4 else ""))
            work.look(board.slots)
        assert work.sum_up()[0] == 4  # 8 that have to do for 40 % of the time

    def test_what_was_done_per_second_by_whoever_did_it(self, board, clock):
        work, seat = Work(), child(board)
        work.look(board.slots)
        seat.say(WorkerReport(completed=30, failed=10))
        work.look(board.slots)
        seat.slot.end(seat.slot.ending)
        replaced = child(board)
        replaced.say(WorkerReport(completed=5))
        work.look(board.slots)
        clock.now += 5
        assert work.sum_up() == (0, 9.0)
        clock.now += 5
        assert work.sum_up() == (0, 0.0)

    def test_what_was_done_before_it_looked_first_does_not_count(self, board, clock):
        seat = child(board)
        seat.say(WorkerReport(completed=1_000_000))
        work = Work()  # of a heart that takes another one's place
        work.look(board.slots)
        seat.say(WorkerReport(completed=1_000_010))
        work.look(board.slots)
        clock.now += 5
        assert work.sum_up() == (0, 2.0)


class TestScaling:
    def run(self, chore, clock, seconds):
        for _ in range(int(seconds / TICK)):
            clock.now += TICK
            chore.once()

    def test_it_asks_for_more_while_jobs_wait_and_for_fewer_afterwards(self, queue, board, clock, monkeypatch):
        monkeypatch.setattr(host.Processors, "busy", lambda self: 0.1)
        wanted, seats = [], [child(board)]
        chore = Scaling(board, queue, Autoscaler(1, 4), wanted.append)
        push(queue, 500)
        seats[0].say(WorkerReport("shop.x"))
        self.run(chore, clock, GROW_PAUSE + DECIDE_SECONDS)
        assert wanted == [2]
        seats.append(child(board))
        seats[1].say(WorkerReport("shop.x"))
        self.run(chore, clock, 60)
        assert wanted == [2, 3]  # the third has not come to life: two are busy, so not all of them
        queue.clear()
        for seat in seats:
            seat.say(WorkerReport())
        self.run(chore, clock, 3 * SHRINK_AFTER)
        assert wanted[-1] == 1

    def test_a_busy_host_is_given_no_more(self, queue, board, clock, monkeypatch):
        monkeypatch.setattr(host.Processors, "busy", lambda self: 0.99)
        wanted, seat = [], child(board)
        push(queue, 500)
        seat.say(WorkerReport("shop.x"))
        self.run(Scaling(board, queue, Autoscaler(1, 4), wanted.append), clock, 30)
        assert wanted == []

    def test_p6_what_waits_too_long_is_not_overtaken_any_more(self, queue, board, clock, settings):
        settings.JOBQUEUE = {"QUEUES": {"default": {"aging": 0.01}, "other": {}}}
        for priority in (-9, 7):
            queue.push(JobPayload(task="shop.x", args='{"args":[],"kwargs":{}}', priority=priority))
        time.sleep(0.02)
        self.run(Scaling(board, queue), clock, DECIDE_SECONDS)
        assert queue.peek().priority == 7
        assert len(queue.ready_of("default", "shop.x", 0).ids) == len(queue.ready_of("default", "shop.x", -9).ids) == 2

    def test_backlogs_are_looked_after_without_an_autoscaler_too(self, queue, board, clock, settings):
        settings.JOBQUEUE = {"QUEUES": {"default": {"backlog_warning": 10}}}
        told = []
        backlog_changed.connect(listen := lambda level, **_: told.append(level.name))
        try:
            push(queue, 10)
            self.run(Scaling(board, queue), clock, DECIDE_SECONDS)
        finally:
            backlog_changed.disconnect(listen)
        assert told == ["WARNING"]


class TestHost:
    def test_memory_is_what_the_system_says(self):
        found = host.memory()
        assert 0 < found.free < found.whole

    def test_work_is_seen(self):
        processors, end = host.Processors(), time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        assert 0 < processors.busy() <= 1

    @pytest.mark.parametrize("text", [None, "", "cpu", "cpu x y", "MemTotal: many\n"])
    def test_where_nothing_is_known_nothing_is_said(self, tmp_path, monkeypatch, text):
        file = tmp_path / "proc"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(host, "_STAT", file)
        monkeypatch.setattr(host, "_MEMINFO", file)
        assert (host.memory(), host.Processors().busy()) == (None, None)
