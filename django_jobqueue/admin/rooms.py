"""Where live jobs are, for one page of them: three look-ups by primary key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.pages import worker_names
from django_jobqueue.admin.robust import readable
from django_jobqueue.models import DelayedJob, JobLock, JobPriority


@dataclass
class RoomView:
    """A job's room as a page shows it. `kind` is `ready`, `delayed`, `running`, or empty for a row without a room."""

    kind: str = ""
    attempt: Any = 0
    lease_no: Any = None
    crashes: Any = 0
    since: datetime | None = None
    due_at: datetime | None = None
    reason: str = ""
    reason_label: str = ""
    waiting_on: str = ""
    worker_id: UUID | None = None
    worker: str = ""
    is_asked_to_stop: bool = False

    @property
    def badge(self) -> SafeString:
        if self.kind == "running":
            return widgets.badge("running", _("asked to stop") if self.is_asked_to_stop else _("running"))
        if self.kind == "delayed":
            return widgets.badge(self.reason, self.reason_label)
        if self.kind == "ready":
            return widgets.badge("ready", _("waiting"))
        return widgets.badge("", _("nowhere"), "bad")

    @property
    def words(self) -> SafeString | str:
        if self.kind == "running":
            return format_html(_("for {} on {}"), widgets.since(self.since), self.worker or "?")
        if self.kind == "delayed":
            when = format_html(_("due {}"), widgets.ago(self.due_at)) if self.due_at else ""
            return when or (_("for %(what)s") % {"what": self.waiting_on} if self.waiting_on else "")
        if self.kind == "ready":
            return format_html(_("for {}"), widgets.since(self.since)) if self.since else ""
        return _("This row has no place in any room. It will never run.")


def rooms_of(using: str, ids: Sequence[UUID]) -> dict[UUID, RoomView]:
    """A job that moves meanwhile may be seen in two rooms; the later one in its life wins."""
    if not ids:
        return {}
    found: dict[UUID, RoomView] = {}
    for row in _rows(DelayedJob, using, ids):
        found[row.pk] = _delayed(row)
    for row in _rows(JobPriority, using, ids):
        since = widgets.from_nanoseconds(row.seq)
        found[row.pk] = RoomView("ready", row.attempt, row.lease_no, row.crashes, since)
    leases = [row for row in _rows(JobLock, using, ids) if row.name == ""]
    names = worker_names(using, (row.worker_id for row in leases))
    for row in leases:
        name = names.get(row.worker_id) or widgets.short_id(row.worker_id)
        room = RoomView("running", row.attempt, row.lease_no, row.crashes, row.claimed_at)
        room.worker_id, room.worker, room.is_asked_to_stop = row.worker_id, name, row.cancel is not None
        found[row.pk] = room
    return found


def _delayed(row: DelayedJob) -> RoomView:
    room = RoomView("delayed", row.attempt, row.lease_no, row.crashes, due_at=row.due_at, reason=row.reason)
    room.reason_label = row.get_reason_display()
    room.waiting_on = widgets.cut(row.waiting_on, 60)
    return room


def _rows(model: Any, using: str, ids: Sequence[UUID]) -> list[Any]:
    return readable(model._default_manager.using(using).filter(pk__in=ids), len(ids))[0]
