"""How far back a list looks for what no index finds: so many of the latest rows, and a link to go on from there."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t

from django_jobqueue.admin import widgets
from django_jobqueue.admin.robust import UNREADABLE

REACH = 100_000
"""Rows that a filter or a search without an index reads at most: PostgreSQL reads them in a tenth of a second."""


def edge_of(listing: ChangeList, request: HttpRequest) -> Any:
    """Where the list's look back ends, a value of the admin's `age`. None: it need not end, or there is too little."""
    model_admin: Any = listing.model_admin
    if not model_admin.age or _is_id(listing.query):
        return None
    used: dict[str, Any] = {_column_of(spec): spec for spec in listing.filter_specs if spec.used_parameters}
    served = {name for index in model_admin.served if used.keys() >= {*index} for name in index}
    if not listing.query and used.keys() <= served:
        return None
    rows: QuerySet[Any] = model_admin.get_queryset(request)
    for name in served:
        rows = used[name].queryset(request, rows)
    if model_admin.age not in used and (before := request.GET.get(f"{model_admin.age}__lt")):
        rows = rows.filter(**{f"{model_admin.age}__lt": before})
    latest = rows.order_by(f"-{model_admin.age}").values_list(model_admin.age, flat=True)
    try:
        last, *more = list(latest[REACH - 1 : REACH + 1]) or [None]
    except UNREADABLE:
        return None
    return last if more else None


def words_for(listing: ChangeList, edge: Any) -> SafeString:
    """What was looked at, and a way to what was not."""
    age = listing.model_admin.age  # type: ignore[attr-defined]
    is_moment = isinstance(edge, datetime)
    further = listing.get_query_string({f"{age}__lt": edge.isoformat() if is_moment else str(edge)}, ["p"])
    return format_html(
        _t('Only the latest {} rows were looked at, back to {}. <a href="{}">Look further back</a>'),
        f"{REACH:,}",
        widgets.clock(edge) if is_moment else edge,
        further,
    )


def _column_of(spec: Any) -> str:
    return str(spec.expected_parameters()[0]).partition("__")[0]


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text.strip()))
    except ValueError:
        return False
