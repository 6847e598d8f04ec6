"""Values that no column refuses, for rows that a database did not take as they were."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db import models

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def mended(model: Any, columns: Sequence[str], row: Sequence[Any]) -> list[Any]:
    """The nearest row that every database takes."""
    return [_fitting(model._meta.get_field(name), value) for name, value in zip(columns, row, strict=True)]


def _fitting(field: Any, value: Any) -> Any:
    if isinstance(field, models.CharField | models.TextField) and isinstance(value, str):
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)[: field.max_length]
    bits = {"SmallIntegerField": 15, "IntegerField": 31, "BigIntegerField": 63}.get(type(field).__name__)
    if bits is None or value is None:
        return value
    return max(-(2**bits), min(2**bits - 1, value))
