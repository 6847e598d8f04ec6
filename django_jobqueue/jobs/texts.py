"""The textual forms of values JSON has no word for: exact, readable, and the same in every release."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo


def _write_moment(value: datetime | time) -> str:
    text = value.isoformat()
    if isinstance(value.tzinfo, ZoneInfo) and value.tzinfo.key:
        text += f"[{value.tzinfo.key}]"
    return f"{text}[fold=1]" if value.fold else text


_MOMENT = re.compile(r"([^\[\]]+)(?:\[([A-Za-z0-9_+/-]+)\])?(\[fold=1\])?")


def _read_moment(text: str, cls: Any) -> Any:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    moment = cls.fromisoformat(match[1])
    if match[3]:
        moment = moment.replace(fold=1)
    if not match[2]:
        return moment
    local = moment.replace(tzinfo=ZoneInfo(match[2]))
    if cls is datetime and moment.tzinfo and local.utcoffset() != moment.utcoffset():
        # The zone's rules changed since this was written, or somebody edited the hour: the offset names the instant.
        return moment.replace(fold=0).astimezone(local.tzinfo)
    return local


def _write_timedelta(value: timedelta) -> str:
    span = abs(value)
    sign = "-" if value < timedelta(0) else ""
    return f"{sign}P{span.days}DT{span.seconds}.{span.microseconds:06}S"


_TIMEDELTA = re.compile(r"(-?)P([0-9]{1,9})DT([0-9]{1,5})(?:\.([0-9]{6}))?S")


def _read_timedelta(text: str) -> timedelta:
    match = _TIMEDELTA.fullmatch(text)
    if match is None:
        raise ValueError(text)
    span = timedelta(days=int(match[2]), seconds=int(match[3]), microseconds=int(match[4] or 0))
    return -span if match[1] else span


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is not stored, as in JSON")
    return str(value)


def _read_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


TEXT_FORMS: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    datetime: (_write_moment, lambda text: _read_moment(text, datetime)),
    date: (date.isoformat, date.fromisoformat),
    time: (_write_moment, lambda text: _read_moment(text, time)),
    timedelta: (_write_timedelta, _read_timedelta),
    Decimal: (_write_decimal, _read_decimal),
    UUID: (str, UUID),
    bytes: (lambda value: base64.b64encode(value).decode(), lambda text: base64.b64decode(text, validate=True)),
}
"""How to write and read each type. Writing raises ValueError for what has no form; reading, whatever it meets."""
