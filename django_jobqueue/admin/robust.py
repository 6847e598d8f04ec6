"""Reading tables that anybody may have written to: SQLite takes any text for a date, which Django then can't read."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

UNREADABLE = (ValueError, TypeError, OverflowError)


def readable(rows: QuerySet[Any], limit: int) -> tuple[list[Any], int]:
    """Up to `limit` rows, and how many of them could not be read."""
    try:
        return list(rows[:limit]), 0
    except UNREADABLE:
        return _one_by_one(rows, limit)


def _one_by_one(rows: QuerySet[Any], limit: int) -> tuple[list[Any], int]:
    good: list[Any] = []
    bad = 0
    for position in range(limit):
        try:
            row = list(rows[position : position + 1])
        except UNREADABLE:
            bad += 1
            continue
        if not row:
            break
        good += row
    return good, bad
