"""Dead letters: what died of what, each one whole, and the way back."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from django_jobqueue.admin import widgets
from django_jobqueue.admin.base import JobQueueAdmin
from django_jobqueue.admin.edit import edit_and_retry
from django_jobqueue.admin.filters import ChoiceFilter, DeadQueueFilter, DeadTaskFilter, StoreFilter
from django_jobqueue.admin.operations import Operation
from django_jobqueue.admin.pages import Button, Event, Page, error_line, executions
from django_jobqueue.admin.robust import UNREADABLE
from django_jobqueue.admin.seen import AsOfActionForm, latest_death, write_as_of
from django_jobqueue.lifecycle.dead_letters import LetterGroup, Revival, let_go, revive, statistics
from django_jobqueue.models import DeadLetterJob

LATEST = 10_000
"""The summary looks at so many of the latest letters: enough to see what is wrong, and always as fast."""
_GROUPS_SHOWN = 8


RETRY = Operation(
    name="retry",
    permission="django_jobqueue.retry_deadletterjob",
    label=_("Retry now"),
    done=ngettext_lazy("%(count)d dead letter runs again.", "%(count)d dead letters run again.", "count"),
    nothing=_("Nothing was retried: somebody else was faster."),
    logged=_("Retried."),
    work=lambda queue, ids, seen: revive(queue, ids, lease_no=seen.lease_no, died_before=seen.as_of),
    tone="primary",
)
DISCARD = Operation(
    name="discard",
    permission="django_jobqueue.discard_deadletterjob",
    label=_("Discard"),
    done=ngettext_lazy("%(count)d dead letter discarded.", "%(count)d dead letters discarded.", "count"),
    nothing=_("Nothing was discarded: somebody else was faster."),
    logged=_("Discarded."),
    work=lambda queue, ids, seen: Revival(let_go(queue, ids, lease_no=seen.lease_no, died_before=seen.as_of), {}),
    confirm=_("Discard? It will never run again."),
    tone="danger",
)
EDIT_PERMISSION = "django_jobqueue.edit_retry_deadletterjob"


class ErrorFilter(ChoiceFilter):
    """Exceptions among the latest dead letters."""

    title = _("error")
    parameter_name = "error_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.used_parameters.get(self.parameter_name)
        groups = triage(request, model_admin.get_queryset(request).db)
        names = {group.error_class for group in groups} | ({chosen} if chosen is not None else set())
        return [(name, widgets.cut(name.rpartition(".")[2], 60) or _t("none")) for name in sorted(names)]


def triage(request: HttpRequest, using: str) -> list[LetterGroup]:
    """The latest dead letters by what they died of, of the chosen store or of all; counted once per request."""
    groups: list[LetterGroup] | None = getattr(request, "_jobqueue_triage", None)
    if groups is None:
        try:
            groups = statistics(using, latest=LATEST, store=request.GET.get(StoreFilter.parameter_name))
        except UNREADABLE:  # a date that is none; the list steps over such rows
            groups = []
        request._jobqueue_triage = groups  # type: ignore[attr-defined]
    return groups


@admin.register(DeadLetterJob)
class DeadLetterAdmin(JobQueueAdmin):
    list_display = ("what", "error", "queue_name", "attempts", "died")
    list_filter = (StoreFilter, DeadQueueFilter, DeadTaskFilter, ErrorFilter, "reason", "failed_at")
    search_fields = ("task", "error_class", "error_message")
    search_help_text = _("Job id, or words of the task or the error.")
    ordering = ("-failed_at", "-pk")
    age = "failed_at"
    served = (("queue",), ("task", "error_class"), ("failed_at",))
    actions = ("retry_selected", "discard_selected")
    action_form = AsOfActionForm
    operations = (RETRY, DISCARD)
    has_store = True
    narrow = ("args", "error_message", "traceback")
    change_list_template = "admin/django_jobqueue/dead_letters.html"

    # -- the list ----------------------------------------------------------------------------------------------------

    def columns_of_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        start = {"args_start": Left("args", 400), "message_start": Left("error_message", 300)}
        return super().columns_of_list(rows.annotate(**start))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        as_of = latest_death(self.get_queryset(request).db)  # before the list is read, never after
        response = super().changelist_view(request, {**self._summary(request), **(extra_context or {})})
        write_as_of(response, as_of)
        return response

    def _summary(self, request: HttpRequest) -> dict[str, Any]:
        groups = triage(request, self.get_queryset(request).db)
        total = sum(group.count for group in groups)
        return {
            "triage": [_triage_row(request, group, groups[0].count) for group in groups[:_GROUPS_SHOWN]],
            "triage_total": total,
            "triage_more": len(groups) - _GROUPS_SHOWN,
            "triage_is_cut": total >= LATEST,
        }

    @admin.display(description=_("job"))
    def what(self, obj: Any) -> SafeString:
        preview = widgets.call_preview(obj.args_start)
        return format_html('{}<span class="jq-args">{}</span>', widgets.task_name(obj.task), preview)

    @admin.display(description=_("error"))
    def error(self, obj: Any) -> SafeString:
        name = widgets.cut(obj.error_class, 300).rpartition(".")[2]
        message = widgets.cut(obj.message_start, 160)
        # No attempts left is how most die: a badge on each of them would say nothing.
        usual = obj.reason == DeadLetterJob.Reason.EXHAUSTED and name
        why = "" if usual else widgets.badge(obj.reason, obj.get_reason_display(), "warn")
        return format_html(
            '<span class="jq-error">{}</span>{}<span class="jq-message">{}</span>', widgets.cut(name, 60), why, message
        )

    @admin.display(description=_("queue"))
    def queue_name(self, obj: Any) -> SafeString:
        return format_html('<span class="jq-nowrap">{}</span>', widgets.cut(obj.queue, 40))

    @admin.display(description=_("attempts"))
    def attempts(self, obj: Any) -> str:
        again = _t(", brought back %(times)s times") % {"times": obj.times_retried} if obj.times_retried else ""
        return f"{obj.attempt}/{obj.max_attempts}{again}"

    @admin.display(description=_("died"))
    def died(self, obj: Any) -> Any:
        return widgets.ago(obj.failed_at)

    # -- operations on many ------------------------------------------------------------------------------------------

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return RETRY.is_allowed(request)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return DISCARD.is_allowed(request)

    @admin.action(description=_("Retry selected %(verbose_name_plural)s"), permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, RETRY, queryset)

    @admin.action(description=_("Discard selected %(verbose_name_plural)s"), permissions=["discard"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.act_on_many(request, DISCARD, queryset)

    # -- one letter --------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.edit_view)
        return [
            path("<path:object_id>/edit-retry/", view, name="django_jobqueue_deadletterjob_edit_retry"),
            *super().get_urls(),
        ]

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return edit_and_retry(self, request, object_id, EDIT_PERMISSION)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        events, bad = executions(obj._state.db, obj.pk)
        born = Event(_t("Enqueued"), widgets.clock(obj.enqueued_at))
        died = Event(_t("Died: %(reason)s") % {"reason": obj.get_reason_display()}, widgets.clock(obj.failed_at), "bad")
        edit = Button(self._url(request, "edit_retry", obj.pk), _("Retry with edited arguments"), is_link=True)
        return Page(
            title=widgets.task_name(obj.task),
            badge=widgets.badge(obj.reason, obj.get_reason_display(), "bad"),
            lead=format_html(_t("Died {} in <code>{}</code>."), widgets.ago(obj.failed_at), obj.dead_letter_queue),
            error_class=obj.error_class,
            error_message=obj.error_message,
            traceback=obj.traceback,
            call=widgets.stored_call(obj.args),
            facts=letter_facts(obj),
            events=[born, *events, died],
            unreadable=bad,
            buttons=[edit] if request.user.has_perm(EDIT_PERMISSION) else [],
            lease_no=obj.lease_no,
        )


def letter_facts(obj: DeadLetterJob) -> list[tuple[Any, Any]]:
    return [
        (_("Store"), widgets.cut(obj.store, 100)),
        (_("Queue"), obj.queue),
        (_("Priority"), obj.priority),
        (_("Attempts"), _t("%(spent)s of %(allowed)s") % {"spent": obj.attempt, "allowed": obj.max_attempts}),
        (_("Workers lost"), obj.crashes or ""),
        (_("Brought back"), _t("%(times)s times") % {"times": obj.times_retried} if obj.times_retried else ""),
        (_("Timeout"), f"{obj.timeout} s" if obj.timeout is not None else ""),
        (_("Unique key"), widgets.code(obj.unique_key) if obj.unique_key else ""),
        (_("Concurrency key"), widgets.code(obj.concurrency_key) if obj.concurrency_key else ""),
        (_("Enqueued"), widgets.clock(obj.enqueued_at)),
        (_("Died"), widgets.clock(obj.failed_at)),
        (_("Fingerprint"), widgets.code(obj.fingerprint) if obj.fingerprint else ""),
        (_("Job id"), widgets.code(obj.pk)),
    ]


def _triage_row(request: HttpRequest, group: LetterGroup, most: int) -> dict[str, Any]:
    filters = {
        "queue": group.queue,
        "task": group.task,
        "error_class": group.error_class,
        "reason__exact": group.reason,
    }
    if (store := request.GET.get(StoreFilter.parameter_name)) is not None:
        filters["store"] = store
    active = all(request.GET.get(name) == value for name, value in filters.items())
    url = reverse("admin:django_jobqueue_deadletterjob_changelist")
    return {
        "group": group,
        "task": widgets.task_name(group.task),
        "error": error_line(group.error_class, "", 80),
        "reason": dict(DeadLetterJob.Reason.choices).get(group.reason, group.reason),
        "last": widgets.ago(group.last_failed_at),
        "share": max(1, round(100 * group.count / most)),
        "url": url if active else f"{url}?{urlencode(filters)}",
        "is_active": active,
    }
