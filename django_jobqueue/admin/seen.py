"""What the operator saw: a click on an old page must not reach a job that has run and died again since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin.helpers import ActionForm
from django.http import HttpRequest
from django.utils import timezone

from django_jobqueue.admin.robust import UNREADABLE
from django_jobqueue.models import DeadLetterJob

_CLOCKS_DIFFER = timedelta(hours=1)
"""At most so much may the store's clock be ahead of ours; a later death is a row written by hand."""


@dataclass(frozen=True, slots=True)
class Seen:
    """From a detail page the lease under which the job had died, from a list the latest death there was."""

    lease_no: int | None = None
    as_of: datetime | None = None


class AsOfActionForm(ActionForm):
    """The list's choice of actions, and when the list was made. It is text, as a date that is none must not matter."""

    as_of = forms.CharField(label="", required=False, widget=forms.HiddenInput)


def latest_death(using: str) -> datetime:
    """The end of what a list can show, on the store's own clock: the web server's may be behind it or ahead."""
    now = timezone.now()
    deaths = DeadLetterJob._default_manager.using(using).filter(failed_at__lte=now + _CLOCKS_DIFFER)
    try:
        return deaths.order_by("-failed_at").values_list("failed_at", flat=True).first() or now
    except UNREADABLE:
        return now


def posted(request: HttpRequest) -> Seen:
    """What the page said; nothing where it did not, or not in a way we could have written."""
    return Seen(_number(request.POST.get("lease_no", "")), _moment(request.POST.get("as_of", "")))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        if timezone.is_aware(moment) is not settings.USE_TZ:
            return None
        return moment.astimezone(UTC) if settings.USE_TZ else moment
    except UNREADABLE:
        return None


def write_as_of(response: Any, moment: datetime) -> None:
    """Into the action form of a list page that is not rendered yet."""
    form = (getattr(response, "context_data", None) or {}).get("action_form")
    if form is not None:
        form.initial["as_of"] = moment.isoformat()
