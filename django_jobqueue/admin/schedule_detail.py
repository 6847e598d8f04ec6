"""The page of one schedule: how it stands, what comes, what was."""

from __future__ import annotations

import re
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.pages import Event, Page
from django_jobqueue.admin.robust import UNREADABLE
from django_jobqueue.admin.schedule_preview import Preview, preview
from django_jobqueue.admin.schedule_runs import Run, last_runs, schedule_in, sparkline, summary
from django_jobqueue.models import RecurringJob
from django_jobqueue.monitoring.schedules import LATE
from django_jobqueue.scheduling.edits import store_now

_CHORE = RecurringJob.Source.CHORE
_RUNS_LISTED = 10
_PARTS = re.compile(r"[^._]+[._]*|[._]+")


def page_of(obj: Any, preview_url: str) -> Page:
    runs = last_runs(obj._state.db, [obj]).get(obj.pk, [])
    schedule = schedule_in(obj)
    return Page(
        title=title_of(obj),
        badge=state_badge(obj),
        lead=rhythm_of(obj),
        error_class=_t("The last attempt failed") if obj.last_error else "",
        error_message=obj.last_error,
        call=widgets.stored_call(obj.args) if obj.args else {},
        facts=_facts(obj),
        events=[_event(run) for run in runs[: -_RUNS_LISTED - 1 : -1]],
        events_title=_("Last runs"),
        summary=format_html('{}<p class="jq-note">{}</p>', sparkline(runs), summary(runs)) if runs else "",
        preview=_preview(obj, schedule) if obj.enabled and not obj.retired_at else None,
        preview_url=preview_url,
    )


def title_of(obj: Any) -> SafeString:
    """The name, and smaller the task and where it is declared."""
    where = [
        widgets.cut(obj.task, 120) if obj.task != obj.name else "",
        _t("in code") if obj.source == RecurringJob.Source.CODE else "",
    ]
    small = " · ".join(filter(None, where))
    return format_html(
        '<span class="jq-task">{}</span>{}',
        widgets.cut(obj.name, 120) or "—",
        format_html('<span class="jq-module">{}</span>', _breakable(small)) if small else "",
    )


def _breakable(text: str) -> SafeString:
    """In a narrow column a task's name ends its line after a dot or an underscore, and not in the middle of a word."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in _PARTS.findall(text)))


def rhythm_of(obj: Any) -> SafeString | str:
    """When it runs, in words; what is stored, when nobody can read that."""
    schedule = schedule_in(obj)
    if schedule is None:
        return format_html('<span class="jq-error">{}</span>', widgets.cut(f"{obj.kind} {obj.expression}", 80))
    return widgets.cut(schedule, 120)


def state_badge(obj: Any) -> SafeString:
    if obj.retired_at:
        return widgets.badge("", _t("retired"), "mute")
    if not obj.enabled:
        return widgets.badge("", _t("paused"), "warn")
    if obj.failures:
        return widgets.badge("", _t("failing"), "bad")
    if is_late(obj):
        return widgets.badge("", _t("late"), "bad")
    if _is_held(obj):
        return widgets.badge("", _t("waits for its last job"), "info")
    if obj.kind == RecurringJob.Kind.MANUAL:
        return widgets.badge("", _t("by hand"), "info")
    if not obj.next_run_at:
        return widgets.badge("", _t("over"), "mute")
    return widgets.badge("", _t("on"), "good")


def is_late(obj: Any) -> bool:
    """Whether no scheduler has looked at it though one should have, by more than it takes."""
    try:
        return bool(obj.due_at and obj.due_at < timezone.now() - LATE)
    except UNREADABLE:
        return False


def _is_held(obj: Any) -> bool:
    """Its tick has come, and waits for the end of the job before (overlap `queue`)."""
    try:
        return bool(obj.next_run_at and obj.due_at and obj.next_run_at < min(obj.due_at, timezone.now()))
    except UNREADABLE:
        return False


def _preview(obj: Any, schedule: Any) -> Preview | None:
    if schedule is None or obj.kind == RecurringJob.Kind.MANUAL:
        return None
    try:
        return preview(schedule, store_now(obj._state.db), starts_at=obj.starts_at, ends_at=obj.ends_at)
    except (ValueError, TypeError, OverflowError) as error:
        return Preview(problem=str(error))


def _event(run: Run) -> Event:
    ran = widgets.number(run.run_ms) if run.finished_at else None
    return Event(
        title=run.label,
        moment=widgets.clock(run.tick) if run.tick else _t("by hand"),
        tone=run.tone,
        facts=[_t("ran %(time)s") % {"time": widgets.duration(ran)}] if ran is not None else [],
        url=run.url,
    )


def _seconds(value: Any) -> str:
    number = widgets.number(value)
    return widgets.cut(value, 40) if number is None else widgets.duration(number * 1_000)


def _facts(obj: Any) -> list[tuple[Any, Any]]:
    is_chore = obj.source == _CHORE
    limit = _t(", at most %(count)s") % {"count": obj.misfire_limit} if obj.misfire == RecurringJob.Misfire.ALL else ""
    policy = [
        (_("Backend"), obj.backend),
        (_("Queue"), obj.queue or _t("the task's own")),
        (_("Priority"), _t("the task's own") if obj.priority is None else obj.priority),
        (_("Missed runs"), f"{obj.get_misfire_display()}{limit}"),
        (_("Missed after"), _seconds(obj.grace)),
        (_("Overlapping runs"), obj.get_overlap_display()),
        (_("Jitter"), _seconds(obj.jitter) if obj.jitter else ""),
    ]
    return [
        (_("Task"), widgets.code(obj.task)),
        (_("Kind"), obj.get_kind_display()),
        (_("Expression"), widgets.code(obj.expression) if obj.expression else ""),
        (_("Time zone"), obj.timezone if obj.kind == RecurringJob.Kind.CRON else ""),
        *([] if is_chore else policy),
        (_("Declared in"), obj.get_source_display()),
        (_("Not before"), widgets.clock(obj.starts_at) if obj.starts_at else ""),
        (_("Not after"), widgets.clock(obj.ends_at) if obj.ends_at else ""),
        (_("Last run"), widgets.clock(obj.last_run_at) if obj.last_run_at else ""),
        (_("Next run"), widgets.clock(obj.next_run_at) if obj.next_run_at else ""),
        (_("Tried again"), widgets.clock(obj.due_at) if obj.failures and obj.due_at else ""),
        (_("Failed attempts"), obj.failures or ""),
        (_("Retired"), widgets.clock(obj.retired_at) if obj.retired_at else ""),
        (_("Changed"), widgets.clock(obj.changed_at) if obj.changed_at else ""),
    ]
