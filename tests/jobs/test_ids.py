"""Ids sort by age and are never the same: in one thread, in many, and in the children of a fork."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from django_jobqueue.jobs import ids
from django_jobqueue.jobs.ids import uuid7, uuid7s


def milliseconds(job_id):
    return job_id.int >> 80


def test_version_variant_and_time():
    before = time.time_ns() // 1_000_000
    job_id = uuid7()
    assert (job_id.version, job_id.variant) == (7, RFC_4122)
    assert before <= milliseconds(job_id) <= time.time_ns() // 1_000_000
    assert UUID(str(job_id)) == job_id


def test_made_one_after_the_other_they_only_grow():
    made = [uuid7() for _ in range(50_000)]
    assert all(one < two for one, two in pairwise(made))
    assert [str(one) for one in made] == sorted(map(str, made))
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}


def test_many_at_once_are_like_those_made_one_by_one():
    made = [uuid7(), *uuid7s(1_000), uuid7(), *uuid7s(2), *uuid7s(0), *uuid7s(1), uuid7()]
    assert len(made) == 1_006
    assert all(one < two for one, two in pairwise(made))
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}
    assert abs(milliseconds(made[-1]) - time.time_ns() // 1_000_000) < 60_000
    assert len({one.int & 0xFFFF_FFFF for one in made}) == len(made)


def test_faster_than_the_clock_they_borrow_little_from_the_future(monkeypatch):
    now = time.time_ns()
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(ids.time, "time_ns", lambda: now)
    made = [uuid7() for _ in range(10_000)]
    assert all(one < two for one, two in pairwise(made))
    assert milliseconds(made[-1]) - now // 1_000_000 <= 3


def test_a_clock_that_is_set_back_makes_no_older_id(monkeypatch):
    now = time.time_ns()
    moments = iter([now, now - 3_600 * 10**9, 0, now + 1])
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(moments))
    made = [uuid7() for _ in range(4)]
    assert made == sorted(made)
    assert len(set(made)) == 4


def test_threads_make_no_id_twice_and_each_sees_its_own_grow():
    threads, each = 8, 5_000
    made = [[] for _ in range(threads)]
    start = threading.Barrier(threads)

    def make(mine):
        start.wait()
        mine.extend(uuid7() for _ in range(each // 2))
        for _ in range(each // 20):
            mine.extend(uuid7s(10))

    running = [threading.Thread(target=make, args=[mine]) for mine in made]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len({job_id for mine in made for job_id in mine}) == threads * each
    assert all(mine == sorted(mine) for mine in made)


def in_child(work):
    """What `work` returns as text, from a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # a child that waits for ever ends without a word
        try:
            os.close(reading)
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
class TestFork:
    def test_children_of_the_same_moment_make_no_id_twice(self):
        uuid7()
        texts = [in_child(lambda: " ".join(str(uuid7()) for _ in range(1_000))) for _ in range(4)]
        made = [UUID(text) for text in " ".join(texts).split()]
        made += [uuid7() for _ in range(1_000)]
        assert len(set(made)) == 5_000

    def test_nor_do_they_share_random_numbers_that_were_asked_for_ahead(self):
        uuid7()
        random_bits = [UUID(in_child(lambda: str(uuid7()))).int & (1 << 62) - 1 for _ in range(3)]
        assert len({*random_bits, uuid7().int & (1 << 62) - 1}) == 4

    def test_a_child_goes_on_where_its_parent_was(self):
        before = uuid7()
        assert UUID(in_child(lambda: str(uuid7()))) > before

    def test_a_lock_held_by_another_thread_at_the_fork_does_not_stop_the_child(self):
        """A worker forks while its heartbeat enqueues: the child's copy of the lock would never be released."""
        with ids._lock:
            text = in_child(lambda: str(uuid7()))
        assert UUID(text).version == 7
