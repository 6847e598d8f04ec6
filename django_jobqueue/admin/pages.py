"""The parts a detail page is made of. Values only; `detail.html` draws them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.robust import readable
from django_jobqueue.models import JobHistory, WorkerProcess

_EXECUTIONS_SHOWN = 50


@dataclass
class Button:
    """A form of one button (or a link, when it only opens a page)."""

    url: str
    label: Any
    tone: str = ""
    confirm: Any = ""
    is_link: bool = False


@dataclass
class Event:
    """One line of a job's story."""

    title: Any
    moment: Any = ""
    tone: str = "mute"
    facts: list[Any] = field(default_factory=list)
    error: str = ""
    traceback: str = ""
    url: str = ""


@dataclass
class Page:
    """A detail page from top to bottom. `facts` are pairs of a label and a value; empty ones are left out."""

    title: Any
    badge: Any = ""
    lead: Any = ""
    error_class: str = ""
    error_message: str = ""
    traceback: str = ""
    call: dict[str, Any] = field(default_factory=dict)
    result: Any = ""
    facts: list[tuple[Any, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    events_title: Any = ""
    summary: Any = ""
    preview: Any = None
    preview_url: str = ""
    unreadable: int = 0
    buttons: list[Button] = field(default_factory=list)
    lease_no: Any = None

    def __post_init__(self) -> None:
        self.facts = [(label, value) for label, value in self.facts if value not in (None, "")]
        self.error_message = widgets.cut(self.error_message, widgets.SHOWN_CHARS)
        self.traceback = widgets.cut(self.traceback, widgets.SHOWN_CHARS)


def page_url(model: Any, pk: Any, page: str = "change") -> str:
    return reverse(f"admin:django_jobqueue_{model._meta.model_name}_{page}", args=[pk])


def executions(using: str, job_id: UUID) -> tuple[list[Event], int]:
    """What has happened to a job, the latest last, and how many rows could not be read."""
    latest = JobHistory._default_manager.using(using).filter(job_id=job_id).order_by("-lease_no")
    rows, bad = readable(latest.defer("args", "result"), _EXECUTIONS_SHOWN)
    names = worker_names(using, (row.worker_id for row in rows))
    return [_event(row, names) for row in reversed(rows)], bad


def _event(row: JobHistory, names: dict[UUID, str]) -> Event:
    ran = row.started_at is not None
    facts = [
        _("waited %(time)s") % {"time": widgets.duration(row.wait_ms)} if ran else "",
        _("ran %(time)s") % {"time": widgets.duration(row.run_ms)} if ran else "",
        names.get(row.worker_id, widgets.short_id(row.worker_id)) if row.worker_id else "",
    ]
    attempt = _("Attempt %(number)s") % {"number": row.attempt} if ran else ""
    outcome = row.get_outcome_display()
    return Event(
        title=f"{attempt}: {outcome}" if attempt else outcome,
        moment=widgets.clock(row.started_at or row.finished_at),
        tone=widgets.TONES.get(row.outcome, "mute"),
        facts=[fact for fact in facts if fact],
        error=error_line(row.error_class, row.error_message, 300),
        traceback=widgets.cut(row.traceback, widgets.SHOWN_CHARS),
        url=page_url(JobHistory, row.pk),
    )


def error_line(error_class: Any, message: Any, length: int) -> str:
    """`ValueError: what it said`"""
    name = str(error_class or "").rpartition(".")[2]
    return widgets.cut(f"{name}: {message}" if name and message else name or message, length)


def worker_names(using: str, ids: Iterable[UUID | None]) -> dict[UUID, str]:
    wanted = {one for one in ids if one is not None}
    if not wanted:
        return {}
    found = WorkerProcess._default_manager.using(using).filter(pk__in=wanted)
    return {pk: widgets.cut(name, 80) for pk, name in found.values_list("pk", "name")}


def worker_link(using: str, worker_id: UUID | None) -> SafeString | str:
    if worker_id is None:
        return ""
    name = worker_names(using, [worker_id]).get(worker_id)
    return widgets.link(page_url(WorkerProcess, worker_id), name) if name else widgets.code(worker_id)
