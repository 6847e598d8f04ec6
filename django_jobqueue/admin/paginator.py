"""Pages of a table with millions of rows: nothing is ever counted to the end."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from django.conf import settings
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import QuerySet

CAP = 10_000
"""Rows that can be paged through, and the most that are ever counted. What lies deeper is found by filters."""


class RoughCount(int):
    """`CAP`, when there are more rows: counts as that, and reads as `10,000+` or as the database's own estimate."""

    estimate: int | None = None

    def __str__(self) -> str:
        if settings.USE_THOUSAND_SEPARATOR:  # Django then groups digits in what is printed here
            return int.__repr__(self)
        return f"{int(self):,}+" if self.estimate is None else f"~{self.estimate:,}"


class CappedPaginator(Paginator):
    """Counts to `CAP` and no further."""

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        found = rows.order_by().values("pk")[: CAP + 1].count()
        if found <= CAP:
            return found
        rough = RoughCount(CAP)
        if not rows.query.where:
            rough.estimate = estimated_rows(rows)
        return rough


def estimated_rows(rows: QuerySet[Any]) -> int | None:
    """How many rows the database believes a table has, where it keeps that number (PostgreSQL); None elsewhere."""
    connection = connections[rows.db]
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [rows.model._meta.db_table])
        believed: int = cursor.fetchone()[0]
    return believed if believed > CAP else None
