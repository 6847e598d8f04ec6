"""How many jobs are fetched at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_jobqueue.workers.pace import Pace


def test_the_first_fetch_is_one_job():
    assert Pace(0.1, 200).limit == 1


def test_tiny_jobs_are_fetched_by_the_hundred_after_a_few_batches():
    pace, limits = Pace(0.1, 200), []
    for _ in range(6):
        pace.ran(pace.limit, pace.limit * 0.00005)
        limits.append(pace.limit)
    assert limits == [4, 16, 64, 200, 200, 200]


def test_slow_jobs_are_fetched_one_by_one():
    pace = Pace(0.1, 200)
    for _ in range(5):
        pace.ran(1, 3.0)
    assert pace.limit == 1


def test_one_slow_job_after_many_quick_ones_is_enough():
    pace = Pace(0.1, 200)
    for _ in range(6):
        pace.ran(pace.limit, pace.limit * 0.00005)
    pace.ran(1, 1.0)
    assert pace.limit == 1


def test_what_is_fetched_fits_in_the_budget():
    pace = Pace(0.1, 200)
    for _ in range(20):
        pace.ran(pace.limit, pace.limit * 0.005)
    assert pace.limit == 20


def test_an_empty_batch_teaches_nothing():
    pace = Pace(0.1, 200)
    pace.ran(0, 5.0)
    assert pace.limit == 1
    pace.ran(1, 0.0)
    assert pace.limit == 4


def test_it_grows_from_as_many_as_run_at_once():
    pace = Pace(0.1, 500, 100)
    pace.ran(1, 0.0001)
    assert pace.limit == 400
    pace.ran(1, 0.1)
    assert pace.limit == 1


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1e6)), max_size=50))
def test_the_limit_is_always_possible(batches):
    pace = Pace(0.1, 200)
    for jobs, seconds in batches:
        before = pace.limit
        pace.ran(jobs, seconds)
        assert 1 <= pace.limit <= min(200, 4 * before)
