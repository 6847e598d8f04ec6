"""Lists as PostgreSQL writes arrays. psycopg asks each value what it is and whether it must be quoted: half of what a
client spent on a settlement, and on a push of many jobs. Here that is known of the column.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID


def uuids(values: Iterable[UUID]) -> str:
    return _array(f"{value.int:032x}" for value in values)


def integers(values: Iterable[int | None]) -> str:
    return _array("NULL" if value is None else f"{value:d}" for value in values)


def floats(values: Iterable[float | None]) -> str:
    return _array("NULL" if value is None else repr(float(value)) for value in values)


def moments(values: Iterable[datetime | None]) -> str:
    return _array("NULL" if value is None else value.isoformat() for value in values)


def texts(values: Iterable[str | None]) -> str:
    return _array(map(_quoted, values))


def _array(values: Iterable[str]) -> str:
    return "{" + ",".join(values) + "}"


def _quoted(value: str | None) -> str:
    if value is None:
        return "NULL"
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + value + '"'
