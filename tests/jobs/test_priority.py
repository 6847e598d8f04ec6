from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_jobqueue.exceptions import InvalidPriority
from django_jobqueue.jobs.priority import QueuePriority, parse_priority

unhurried = settings(deadline=None)  # the machine may be busy with the other tests


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("critical", 100),
        ("HIGH", 50),
        (" Normal ", 0),
        ("low", -50),
        (QueuePriority.HIGH, 50),
        (-100, -100),
        (7, 7),
        (100, 100),
    ],
)
def test_names_and_numbers_are_understood(value, number):
    parsed = parse_priority(value)
    assert parsed == number
    assert type(parsed) is int


@pytest.mark.parametrize("value", [101, -101, True, False, None, 1.0, "", "urgent", "50", [], b"high"])
def test_anything_else_is_refused_and_the_names_are_given(value):
    with pytest.raises(InvalidPriority, match="from -100 to 100, or one of critical, high, normal, low"):
        parse_priority(value)


@pytest.mark.parametrize("value", ["\ud800" * 100_000, 10**5000, [object()]], ids=["text", "number", "object"])
def test_the_message_stays_short_and_printable(value):
    with pytest.raises(InvalidPriority) as refused:
        parse_priority(value)
    assert len(str(refused.value)) < 200
    assert str(refused.value).isascii()


@unhurried
@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.binary()))
def test_a_number_from_minus_100_to_100_or_invalid_priority(value):
    with suppress(InvalidPriority):
        assert -100 <= parse_priority(value) <= 100
