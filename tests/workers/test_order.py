"""The order in which a worker looks at its queues."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from django_jobqueue import JobPayload, get_queue, task
from django_jobqueue.models import JobHistory
from django_jobqueue.workers.order import QueueOrder


def firsts(order, count):
    return [order.next()[0] for _ in range(count)]


def test_without_weights_it_is_strict():
    order = QueueOrder(["b", "a"])
    assert [order.next() for _ in range(3)] == [("b", "a")] * 3
    assert QueueOrder([]).next() == ()


def test_turns_are_spread_evenly():
    assert firsts(QueueOrder(["a", "b"], {"a": 3, "b": 1}), 8) == ["a", "a", "b", "a"] * 2


def test_whose_turn_it_is_not_comes_afterwards():
    order = QueueOrder(["a", "b", "c"], {"a": 1, "b": 1, "c": 1})
    assert all(sorted(order.next()) == ["a", "b", "c"] for _ in range(6))


def test_a_queue_without_a_weight_stays_where_it_stands():
    order = QueueOrder(["urgent", "a", "b", "late"], {"a": 1, "b": 1})
    assert [order.next() for _ in range(2)] == [("urgent", "a", "b", "late"), ("urgent", "b", "a", "late")]


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1))
def test_each_has_its_share_and_waits_no_longer_than_it_must(weights):
    rounds = sum(weights.values())
    turns = firsts(QueueOrder(list(weights), weights), 3 * rounds)
    assert Counter(turns) == {name: 3 * weight for name, weight in weights.items()}
    for name, weight in weights.items():
        mine = [n for n, one in enumerate(turns) if one == name]
        assert all(b - a <= 2 * -(-rounds // weight) for a, b in pairwise(mine))


@task(name="ordered")
def ordered() -> None: ...


@pytest.mark.django_db(transaction=True)
class TestTheCommand:
    def test_weights(self, settings):
        settings.JOBQUEUE = {"QUEUES": {"a": {"prefetch": 1}, "b": {"prefetch": 1}}}
        get_queue().push(*(JobPayload.create("ordered", queue=name) for name in "a" * 9 + "b" * 9))
        call_command("queue_work", "--queues", "a:2,b:1", "--max-jobs", "6", "-v", "0")
        ran = list(JobHistory.objects.order_by("id").values_list("queue", flat=True))
        assert Counter(ran) == {"a": 4, "b": 2}

    @pytest.mark.parametrize("wrong", ["a:0", "a:-1", "a:x", "a:", ":3", "a:1:2", "a:1000000000000"])
    def test_what_is_no_weight(self, wrong):
        with pytest.raises(CommandError, match="queues"):
            call_command("queue_work", "--queues", wrong, "--drain")

    def test_a_queue_that_is_named_twice(self):
        with pytest.raises(CommandError, match="twice"):
            call_command("queue_work", "--queues", "a:1,a:2", "--drain")
