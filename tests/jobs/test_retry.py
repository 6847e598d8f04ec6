from __future__ import annotations

import copy
import math
import pickle
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_jobqueue.exceptions import InvalidRetryPolicy
from django_jobqueue.jobs.retry import LONGEST_DELAY, ExponentialBackoff, FixedDelays, NoRetry, RetryStrategy

unhurried = settings(deadline=None)  # the machine may be busy with the other tests

spans = st.one_of(st.integers(0, 31_536_000), st.floats(0, 31_536_000), st.timedeltas(timedelta(0), LONGEST_DELAY))
rolls = st.floats(0, 1, exclude_max=True)


def no_luck():
    return 0.0


def seconds(span):
    return span.total_seconds() if isinstance(span, timedelta) else span


class TestExponentialBackoff:
    def test_delays_double_up_to_the_cap(self):
        backoff = ExponentialBackoff(base=15, cap=100, jitter=0)
        delays = [backoff.delay(attempt, no_luck).total_seconds() for attempt in range(1, 7)]
        assert delays == [15, 30, 60, 100, 100, 100]

    def test_jitter_only_takes_off(self):
        backoff = ExponentialBackoff(base=timedelta(minutes=1), cap=timedelta(hours=1), jitter=0.5)
        assert backoff.delay(1, lambda: 0.0) == timedelta(seconds=60)
        assert backoff.delay(1, lambda: 0.5) == timedelta(seconds=45)
        assert backoff.delay(1000, lambda: 0.5) == timedelta(minutes=45)

    def test_ten_thousand_jobs_that_failed_together_come_back_apart(self):
        backoff = ExponentialBackoff(base=3600, cap=3600, jitter=0.1)
        roll = random.Random(7).random
        delays = [backoff.delay(5, roll).total_seconds() for _ in range(10_000)]
        fullest = max(sum(1 for delay in delays if second <= delay < second + 1) for second in range(3240, 3600))
        assert fullest < 80  # 360 seconds to spread over: 28 each on average

    @unhurried
    @given(spans, spans, st.floats(0, 1), st.integers(-5, 10**6), rolls)
    def test_a_delay_is_finite_and_within_the_cap(self, one, other, jitter, attempt, roll):
        base, cap = sorted([one, other], key=seconds)
        backoff = ExponentialBackoff(base=base, cap=cap, jitter=jitter)
        assert timedelta(0) <= backoff.delay(attempt, lambda: roll) <= backoff.cap

    @unhurried
    @given(st.integers(1, 10**6))
    def test_a_later_attempt_never_waits_less(self, attempt):
        backoff = ExponentialBackoff(base=0.001, cap=LONGEST_DELAY, jitter=0)
        assert backoff.delay(attempt, no_luck) <= backoff.delay(attempt + 1, no_luck)

    def test_attempts_are_counted_from_one(self):
        backoff = ExponentialBackoff(max_attempts=3)
        assert [backoff.should_retry(attempt, ValueError()) for attempt in (1, 2, 3, 4)] == [True, True, False, False]

    @pytest.mark.parametrize(
        "values",
        [
            {"max_attempts": 0},
            {"max_attempts": True},
            {"max_attempts": 2.0},
            {"max_attempts": 10**9},
            {"base": -1},
            {"base": math.nan},
            {"base": math.inf, "cap": math.inf},
            {"base": "15"},
            {"base": True},
            {"base": 10**400},
            {"base": timedelta(seconds=-1)},
            {"cap": timedelta.max},
            {"base": 10, "cap": 9},
            {"jitter": -0.1},
            {"jitter": 1.1},
            {"jitter": math.nan},
            {"jitter": "0.1"},
            {"only": 3},
            {"only": "ValueError"},
            {"only": [ValueError, 3]},
            {"never": ValueError()},
            {"never": int},
        ],
    )
    def test_nonsense_is_refused_when_the_policy_is_written(self, values):
        with pytest.raises(InvalidRetryPolicy):
            ExponentialBackoff(**values)


class TestFixedDelays:
    def test_each_failure_has_its_delay(self):
        fixed = FixedDelays([60, 300.0, timedelta(minutes=30)])
        assert fixed.max_attempts == 4
        assert [fixed.delay(attempt, no_luck).total_seconds() for attempt in (1, 2, 3)] == [60, 300, 1800]
        assert [fixed.should_retry(attempt, OSError()) for attempt in (1, 2, 3, 4)] == [True, True, True, False]

    @unhurried
    @given(st.lists(spans, min_size=1, max_size=5), st.integers(-5, 10**6))
    def test_any_attempt_has_a_delay(self, delays, attempt):
        fixed = FixedDelays(delays)
        assert fixed.delay(attempt, no_luck) in fixed.delays

    @pytest.mark.parametrize("delays", [[], [-1], [math.nan], ["60"], [None], "60", 60, None, [timedelta.max]])
    def test_nonsense_is_refused_when_the_policy_is_written(self, delays):
        with pytest.raises(InvalidRetryPolicy):
            FixedDelays(delays)


def test_no_retry_runs_once():
    assert NoRetry().max_attempts == 1
    assert not NoRetry().should_retry(1, ValueError())
    assert NoRetry().delay(1, no_luck) == timedelta(0)


@pytest.mark.parametrize(
    "make", [lambda **rules: ExponentialBackoff(**rules), lambda **rules: FixedDelays([1], **rules)]
)
class TestRules:
    def test_only_these(self, make):
        strategy = make(only=[ConnectionError, TimeoutError])
        assert strategy.should_retry(1, ConnectionResetError())
        assert not strategy.should_retry(1, ValueError())

    def test_never_these(self, make):
        strategy = make(never=ValueError)
        assert strategy.should_retry(1, KeyError())
        assert not strategy.should_retry(1, UnicodeError())

    def test_never_wins_over_only(self, make):
        strategy = make(only=OSError, never=FileNotFoundError)
        assert strategy.should_retry(1, PermissionError())
        assert not strategy.should_retry(1, FileNotFoundError())


@pytest.mark.parametrize(
    "strategy", [ExponentialBackoff(only=[ValueError], base=2), FixedDelays(iter([1, 2]), never=[OSError]), NoRetry()]
)
def test_a_strategy_is_a_value(strategy):
    assert isinstance(strategy, RetryStrategy)
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert hash(copy.deepcopy(strategy)) == hash(strategy)
    assert repr(strategy).startswith(type(strategy).__name__)
    with pytest.raises(AttributeError):
        strategy.max_attempts = 9
