"""The number of children follows the load, in bounded steps, and does not swing."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_jobqueue.workers.autoscale import GROW_PAUSE, SHRINK_AFTER, Autoscaler, Sample

IDLE = Sample(at=0.0, ready=0, oldest_ready_s=0.0, children=1, busy=0, done_per_second=0.0)
PRESSED = Sample(at=0.0, ready=1_000, oldest_ready_s=60.0, children=4, busy=4, done_per_second=4.0)


@dataclass
class Plant:
    """Jobs that arrive and take their time, children that do what the autoscaler says; time goes by seconds."""

    scaler: Autoscaler
    children: int = 1
    now: float = 0.0
    waiting: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def run(self, seconds: int, per_second: float, each: float, seed: int = 1) -> None:
        chance = random.Random(seed)
        for _ in range(seconds):
            self.now += 1
            self.waiting += [self.now] * int(per_second + chance.random())
            done = [end for end in self.running if end <= self.now]
            self.running = [end for end in self.running if end > self.now]
            count = len(done)
            capacity = max(1, round(1 / each)) if each < 1 else 1
            while self.waiting and len(self.running) < self.children:
                if each < 1:  # several in a step
                    taken = self.waiting[:capacity]
                    del self.waiting[:capacity]
                    count += len(taken)
                    self.running.append(self.now + len(taken) * each)
                else:
                    self.waiting.pop(0)
                    self.running.append(self.now + each * chance.uniform(0.8, 1.2))
            self.decide(count)

    def decide(self, done: int) -> None:
        oldest = self.now - self.waiting[0] if self.waiting else 0.0
        busy = min(len(self.running), self.children)
        sample = Sample(self.now, len(self.waiting), oldest, self.children, busy, float(done))
        self.children = self.scaler.decide(sample).children
        self.numbers.append(self.children)

    def turns(self, last: int) -> int:
        """How often growing became shrinking or the other way round, in the last so many seconds."""
        steps = [b - a for a, b in pairwise(self.numbers[-last:]) if a != b]
        return sum((a > 0) != (b > 0) for a, b in pairwise(steps))


@pytest.mark.parametrize(
    ("per_second", "each", "enough"), [(0.5, 5.0, 3), (2.0, 3.0, 6), (40.0, 0.1, 4), (0.0, 1.0, 1)]
)
def test_a_steady_load_finds_its_number_and_stays_there(per_second, each, enough):
    plant = Plant(Autoscaler(1, 16, target=10))
    plant.run(900, per_second, each)
    assert enough <= plant.children <= enough + 3
    assert plant.turns(last=600) <= 2
    assert len(plant.waiting) <= max(3, per_second * 20)


def test_a_burst_is_met_and_forgotten():
    plant = Plant(Autoscaler(1, 8, target=10))
    plant.run(30, 0.0, 1.0)
    plant.waiting += [plant.now] * 400
    plant.run(60, 0.0, 1.0)
    assert max(plant.numbers) == 8
    plant.run(400, 0.0, 1.0)
    assert (plant.children, plant.waiting) == (1, [])


def test_long_jobs_that_never_end_within_a_sample_are_seen_by_who_waits():
    plant = Plant(Autoscaler(1, 6, target=10))
    plant.run(300, 0.05, 100.0)
    assert plant.children >= 4


def test_each_step_is_bounded_and_waits_for_the_last_one():
    scaler = Autoscaler(1, 100, target=1)
    assert scaler.decide(PRESSED).children == 6  # half as many more
    assert scaler.decide(PRESSED._replace(at=GROW_PAUSE - 0.1, children=6, busy=6)).children == 6
    assert scaler.decide(PRESSED._replace(at=GROW_PAUSE, children=6, busy=6)).children == 9


def test_no_more_than_there_are_jobs():
    assert Autoscaler(1, 100).decide(PRESSED._replace(ready=1)).children == 5


@pytest.mark.parametrize(
    "change",
    [
        {"busy": 3},  # somebody is free, the jobs will be taken in a moment
        {"host_busy": 0.99},
        {"free_memory_kb": 90_000, "host_memory_kb": 1_000_000, "child_memory_kb": 50_000},
        {"ready": 20, "oldest_ready_s": 1.0},  # they are gone in five seconds
    ],
)
def test_what_keeps_it_from_growing(change):
    assert Autoscaler(1, 8).decide(PRESSED._replace(**change)).children == 4


def test_a_backlog_over_its_threshold_is_reason_enough():
    soon_done = PRESSED._replace(ready=20, oldest_ready_s=1.0)
    assert Autoscaler(1, 8).decide(soon_done._replace(is_backlog=True)).children == 5


def test_a_host_short_of_memory_loses_one_whatever_waits():
    scaler = Autoscaler(2, 8)
    short = PRESSED._replace(free_memory_kb=10_000, host_memory_kb=1_000_000, child_memory_kb=50_000)
    assert scaler.decide(short).children == 3
    assert scaler.decide(short._replace(at=1.0, children=3)).children == 3  # and sees first what that was good for
    assert scaler.decide(short._replace(at=60.0, children=2)).children == 2  # never fewer than asked for


def test_fewer_only_after_a_quiet_time():
    scaler = Autoscaler(1, 8)
    quiet = IDLE._replace(children=5, busy=1)
    numbers = [scaler.decide(quiet._replace(at=float(at))).children for at in range(int(SHRINK_AFTER) + 1)]
    assert numbers[:-1] == [5] * int(SHRINK_AFTER)
    assert numbers[-1] == 3


@pytest.mark.parametrize("tick", [0.7, 2.003, 11.0])
def test_whatever_the_clock_s_ticks_are(tick):
    scaler = Autoscaler(1, 8)
    quiet = IDLE._replace(children=5, busy=1)
    numbers = [(at, scaler.decide(quiet._replace(at=at)).children) for at in (n * tick for n in range(60))]
    at, children = next(one for one in numbers if one[1] != 5)
    assert SHRINK_AFTER <= at <= SHRINK_AFTER + tick
    assert children == 3


def test_one_busy_moment_keeps_them_all():
    scaler = Autoscaler(1, 8)
    for at in range(200):
        busy = 5 if at % 20 == 0 else 1
        assert scaler.decide(IDLE._replace(at=float(at), children=5, busy=busy)).children == 5


def test_a_child_that_died_is_made_up_for_at_once():
    scaler = Autoscaler(3, 8)
    assert scaler.decide(IDLE._replace(children=2)).children == 3
    assert scaler.decide(IDLE._replace(children=0, at=0.1)).children == 3


@pytest.mark.parametrize(("least", "most"), [(0, 3), (4, 3), (-1, 2)])
def test_bounds_that_are_none(least, most):
    with pytest.raises(ValueError, match="the first must be at least 1"):
        Autoscaler(least, most)


_counts = st.integers(0, 40)
_samples = st.builds(
    Sample,
    at=st.floats(0, 10),
    ready=st.integers(0, 10**9),
    oldest_ready_s=st.floats(0, 10**9),
    children=_counts,
    busy=_counts,
    done_per_second=st.floats(0, 10**6),
    host_busy=st.none() | st.floats(0, 1),
    free_memory_kb=st.none() | st.integers(0, 10**9),
    host_memory_kb=st.none() | st.integers(0, 10**9),
    child_memory_kb=st.none() | st.integers(0, 10**9),
)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(0, 20), st.lists(_samples, max_size=60))
def test_whatever_is_measured_it_stays_in_its_bounds_and_takes_small_steps(least, more, samples):
    scaler, at = Autoscaler(least, least + more), 0.0
    for sample in samples:
        at += sample.at
        decided = scaler.decide(sample._replace(at=at)).children
        assert least <= decided <= least + more
        if least <= sample.children <= least + more:
            assert decided - sample.children <= max(1, sample.children // 2)
