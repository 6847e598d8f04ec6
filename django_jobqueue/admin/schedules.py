"""Schedules: what runs when, how it went, and buttons. Those of code, and chores, are looked at and not edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import schedule_pages, widgets
from django_jobqueue.admin.base import JobQueueAdmin
from django_jobqueue.admin.filters import ChoiceFilter
from django_jobqueue.admin.pages import Button, Page
from django_jobqueue.admin.robust import UNREADABLE, readable
from django_jobqueue.admin.schedule_detail import page_of, rhythm_of, state_badge, title_of
from django_jobqueue.admin.schedule_operations import (
    EDIT_PERMISSION,
    PAUSE,
    REMOVE,
    RESUME,
    TRIGGER,
    ScheduleOperation,
    perform,
    perform_on_rows,
    tell,
)
from django_jobqueue.admin.schedule_runs import last_runs, outcome_of, sparkline
from django_jobqueue.admin.stores import database_of, stores
from django_jobqueue.models import DeadLetterJob, RecurringJob
from django_jobqueue.monitoring.schedules import LATE
from django_jobqueue.scheduling.register import alive

_CHORE = RecurringJob.Source.CHORE
_CHORES_SHOWN = 50
_SCHEDULERS_SHOWN = 10


_STATES = {"on": _("on"), "paused": _("paused"), "failing": _("failing"), "late": _("late"), "retired": _("retired")}


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(_STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "on":
                return queryset.filter(enabled=True, retired_at=None)
            case "paused":
                return queryset.filter(enabled=False, retired_at=None)
            case "retired":
                return queryset.filter(retired_at__isnull=False)
            case "late":
                return queryset.filter(due_at__lt=timezone.now() - LATE)
            case "failing":
                letters = DeadLetterJob._default_manager.using(queryset.db).filter(pk=OuterRef("last_job_id"))
                return queryset.filter(Q(failures__gt=0) | Exists(letters))
        return queryset


class SourceFilter(ChoiceFilter):
    """Chores stand apart, below the list; this shows them in it."""

    title = _("declared in")
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value, label) for value, label in RecurringJob.Source.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.exclude(source=_CHORE) if self.value() is None else super().queryset(request, queryset)


class BackendFilter(ChoiceFilter):
    """Where the jobs go. Not shown where there is only one place."""

    title = _("backend")
    parameter_name = "backend"

    def names(self, model: Any) -> list[str]:
        return [queue.alias for queue in stores() if queue.database == database_of(model)]

    def has_output(self) -> bool:
        return len(self.lookup_choices) > 1


@admin.register(RecurringJob)
class ScheduleAdmin(JobQueueAdmin):
    list_display = ("title", "rhythm", "state", "following", "last")
    list_filter = (StateFilter, SourceFilter, BackendFilter)
    search_fields = ("name", "task")
    search_help_text = _("Words of the name or the task, or the id of the last job.")
    job_id_field = "last_job_id"
    ordering = ("name", "pk")
    narrow = ("args", "last_error")
    actions = ("trigger_selected", "pause_selected", "resume_selected")
    change_list_template = "admin/django_jobqueue/schedules.html"

    class Media:
        js = ["django_jobqueue/schedule.js"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("django_jobqueue.add_recurringjob"))

    # -- the list ----------------------------------------------------------------------------------------------------

    def columns_of_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return super().columns_of_list(rows.annotate(error_start=Left("last_error", 300)))

    def complete_rows(self, rows: list[Any]) -> None:
        found = last_runs(rows[0]._state.db, rows) if rows else {}
        for row in rows:
            row.runs = found.get(row.pk, [])

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        chores = [] if "source" in request.GET or not self.has_view_permission(request) else self._chores(request)
        context = {"chores": chores, "schedulers": self._schedulers(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def _schedulers(self, request: HttpRequest) -> list[dict[str, Any]]:
        try:
            rows = alive(self.get_queryset(request).db)[:_SCHEDULERS_SHOWN]
        except UNREADABLE:
            return []
        return [{"name": widgets.cut(row.name, 80), "since": widgets.since(row.started_at)} for row in rows]

    def _chores(self, request: HttpRequest) -> list[dict[str, Any]]:
        rows, _bad = readable(
            self.columns_of_list(self.get_queryset(request).filter(source=_CHORE).order_by("name")), _CHORES_SHOWN
        )
        return [
            {
                "url": self.row_url(request, row),
                "name": widgets.cut(row.name.removeprefix("chore:"), 80),
                "rhythm": self.rhythm(row),
                "state": self.state(row),
                "last": widgets.ago(row.last_run_at),
                "following": widgets.ago(row.next_run_at),
            }
            for row in rows
        ]

    @admin.display(description=_("schedule"))
    def title(self, obj: Any) -> SafeString:
        return title_of(obj)

    @admin.display(description=_("when"))
    def rhythm(self, obj: Any) -> SafeString | str:
        return rhythm_of(obj)

    @admin.display(description=_("state"))
    def state(self, obj: Any) -> SafeString:
        return state_badge(obj)

    @admin.display(description=_("next run"))
    def following(self, obj: Any) -> SafeString | str:
        if not obj.next_run_at:
            return "—"
        return format_html(
            '{}<span class="jq-state jq-nowrap">{}</span>', widgets.ago(obj.next_run_at), widgets.clock(obj.next_run_at)
        )

    @admin.display(description=_("last runs"))
    def last(self, obj: Any) -> Any:
        if obj.source == _CHORE:
            return widgets.ago(obj.last_run_at)
        runs = [run for run in obj.runs if run.outcome] or obj.runs
        why = widgets.cut(obj.error_start, 200) if obj.failures else ""
        told = format_html('<span class="jq-why" title="{}">{}</span>', why, why) if why else ""
        return format_html("{}{}", told or outcome_of(runs[-1] if runs else None), sparkline(obj.runs))

    # -- operations on many ------------------------------------------------------------------------------------------

    def has_trigger_permission(self, request: HttpRequest) -> bool:
        return TRIGGER.is_allowed(request)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return PAUSE.is_allowed(request)

    @admin.action(description=_("Run selected %(verbose_name_plural)s now"), permissions=["trigger"])
    def trigger_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        perform_on_rows(request, TRIGGER, queryset)

    @admin.action(description=_("Pause selected %(verbose_name_plural)s"), permissions=["pause"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        perform_on_rows(request, PAUSE, queryset)

    @admin.action(description=_("Resume selected %(verbose_name_plural)s"), permissions=["pause"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        perform_on_rows(request, RESUME, queryset)

    # -- one schedule ------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Any, name: str, **kwargs: Any) -> URLPattern:
            def wrapped(request: HttpRequest, **found: Any) -> HttpResponse:
                response: HttpResponse = function(self, request, **found, **kwargs)
                return response

            return path(route, self.admin_site.admin_view(wrapped), name=f"django_jobqueue_recurringjob_{name}")

        return [
            view("add/", schedule_pages.add, "add"),
            view("preview/", schedule_pages.preview_of, "preview"),
            view("<path:object_id>/edit/", schedule_pages.edit, "edit"),
            view("<path:object_id>/run/", schedule_pages.run, "run"),
            *(
                view(f"<path:object_id>/{one.name}/", _act_on_one, one.name, operation=one)
                for one in (PAUSE, RESUME, REMOVE)
            ),
            *super().get_urls(),
        ]

    def reverse(self, page: str, *args: Any) -> str:
        return reverse(f"admin:django_jobqueue_recurringjob_{page}", args=args, current_app=self.admin_site.name)

    def row_url(self, request: HttpRequest, row: Any) -> str:
        """Its page; the admin's index for whom may act on rows but not look at them."""
        if not self.has_view_permission(request):
            return self.list_url(request)
        return self._url(request, "change", row.pk)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        page = page_of(obj, f"{self.reverse('preview')}?{urlencode({'row': obj.pk})}")
        page.buttons = self._buttons(request, obj)
        return page

    def _buttons(self, request: HttpRequest, obj: Any) -> list[Button]:
        own = obj.source == RecurringJob.Source.ADMIN
        switch = PAUSE if obj.enabled else RESUME
        buttons = [self._act(request, switch, obj)] if switch.is_allowed(request) and not obj.retired_at else []
        if TRIGGER.is_allowed(request):
            buttons.insert(0, Button(self._url(request, "run", obj.pk), _("Run now…"), is_link=True))
        if own and request.user.has_perm(EDIT_PERMISSION):
            buttons.append(Button(self._url(request, "edit", obj.pk), _("Edit"), is_link=True))
        if (own or obj.retired_at) and REMOVE.is_allowed(request):
            buttons.append(self._act(request, REMOVE, obj))
        return buttons

    def _act(self, request: HttpRequest, operation: ScheduleOperation, obj: Any) -> Button:
        return Button(self._url(request, operation.name, obj.pk), operation.label, operation.tone, operation.confirm)


def _act_on_one(
    model_admin: ScheduleAdmin, request: HttpRequest, object_id: str, operation: ScheduleOperation
) -> HttpResponse:
    """A button of the page."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not operation.is_allowed(request):
        raise PermissionDenied
    row = model_admin.get_object(request, object_id)
    if row is None:
        return model_admin.moved_on(request, object_id)
    tell(request, operation, *perform(request, operation, [row]))
    is_gone = operation is REMOVE
    return HttpResponseRedirect(model_admin.list_url(request) if is_gone else model_admin.row_url(request, row))
