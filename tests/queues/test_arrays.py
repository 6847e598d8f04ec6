"""Lists come to PostgreSQL as they are, whatever is in them."""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connections

from django_jobqueue.queues.orm import arrays

pytestmark = pytest.mark.django_db(databases=["postgres"])


class Level(enum.IntEnum):
    HIGH = 5


def stored(kind, array):
    connections["postgres"].ensure_connection()
    cursor = psycopg.Cursor(connections["postgres"].connection)
    return [value for (value,) in cursor.execute(f"SELECT * FROM unnest(%s::{kind}[])", [array]).fetchall()]


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["", "a", None],
        ["NULL", "null", " ", "a b", "\n", "\t"],
        ['"', '""', "\\", '\\"', "a\\", '{"args":["\\u0000"]}', "'"],
        ["{", "}", "{}", ",", "{a,b}", "%s", "%", "$1"],
        ["ä", "日本", "\U0001f600", "\x01", "\x7f"],
    ],
)
def test_texts(values):
    assert stored("text", arrays.texts(values)) == values


def test_integers():
    values = [0, -1, None, 2**31 - 1, -(2**31)]
    assert stored("int", arrays.integers(values)) == values
    assert stored("bigint", arrays.integers([2**63 - 1, Level.HIGH, True])) == [2**63 - 1, 5, 1]


def test_floats():
    values = [0.1, 30, None, 1e-300, -1.7976931348623157e308, math.inf]
    assert stored("float8", arrays.floats(values)) == values
    assert math.isnan(*stored("float8", arrays.floats([math.nan])))


def test_uuids():
    values = [UUID(int=0), UUID(int=2**128 - 1), uuid4()]
    assert stored("uuid", arrays.uuids(values)) == values


def test_moments():
    east = datetime(2026, 11, 3, 4, 5, 6, 789, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    values = [east, None, datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC)]
    assert [value and value.astimezone(UTC) for value in stored("timestamptz", arrays.moments(values))] == [
        value and value.astimezone(UTC) for value in values
    ]


def test_text_that_postgresql_can_not_hold_is_refused_as_it_was():
    with pytest.raises(psycopg.DataError):
        stored("text", arrays.texts(["a\0b"]))
