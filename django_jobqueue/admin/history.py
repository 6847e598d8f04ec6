"""History: every execution that ended, and how."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.base import JobQueueAdmin
from django_jobqueue.admin.filters import QueueFilter, StoreFilter, TaskFilter
from django_jobqueue.admin.live import look_up_link
from django_jobqueue.admin.pages import Page, executions, page_url, worker_link
from django_jobqueue.models import DeadLetterJob, Job, JobHistory


@admin.register(JobHistory)
class HistoryAdmin(JobQueueAdmin):
    list_display = ("what", "became", "queue_name", "attempt", "waited", "ran", "finished")
    list_filter = ("outcome", StoreFilter, QueueFilter, TaskFilter, "finished_at")
    search_fields = ("task",)
    search_help_text = _("Job id, or words of the task.")
    ordering = ("-finished_at", "-pk")  # as the index has them: a range of days is one of its ranges
    age = "finished_at"
    served = (("finished_at",),)
    narrow = ("args", "result", "traceback", "error_message")
    job_id_field = "job_id"
    has_store = True

    @admin.display(description=_("job"))
    def what(self, obj: Any) -> SafeString:
        return widgets.task_name(obj.task)

    @admin.display(description=_("outcome"))
    def became(self, obj: Any) -> SafeString:
        error = widgets.cut(str(obj.error_class or "").rpartition(".")[2], 60)
        badge = widgets.badge(obj.outcome, obj.get_outcome_display())
        return format_html('{}<span class="jq-state">{}</span>', badge, error)

    @admin.display(description=_("queue"))
    def queue_name(self, obj: Any) -> SafeString:
        return format_html('<span class="jq-nowrap">{}</span>', widgets.cut(obj.queue, 40))

    @admin.display(description=_("waited"))
    def waited(self, obj: Any) -> str:
        return widgets.duration(obj.wait_ms) if obj.started_at else "—"

    @admin.display(description=_("ran"))
    def ran(self, obj: Any) -> str:
        return widgets.duration(obj.run_ms) if obj.started_at else "—"

    @admin.display(description=_("finished"))
    def finished(self, obj: Any) -> Any:
        return widgets.ago(obj.finished_at)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        using = obj._state.db
        events, bad = executions(using, obj.job_id)
        return Page(
            title=widgets.task_name(obj.task),
            badge=widgets.badge(obj.outcome, obj.get_outcome_display()),
            lead=format_html("{}", widgets.ago(obj.finished_at)),
            error_class=obj.error_class,
            error_message=obj.error_message,
            traceback=obj.traceback,
            call=widgets.stored_call(obj.args) if obj.args else {},
            result=widgets.stored_value(obj.result) if obj.result else "",
            facts=[
                (_("Now"), _where_now(using, obj)),
                (_("Store"), widgets.cut(obj.store, 100)),
                (_("Queue"), obj.queue),
                (_("Attempt"), obj.attempt),
                (_("Waited"), self.waited(obj)),
                (_("Ran"), self.ran(obj)),
                (_("Peak memory"), f"{obj.memory_kb:,} KiB" if widgets.number(obj.memory_kb) else ""),
                (_("Worker"), worker_link(using, obj.worker_id)),
                (_("Priority"), obj.priority),
                (_("Enqueued"), widgets.clock(obj.enqueued_at)),
                (_("Started"), widgets.clock(obj.started_at) if obj.started_at else ""),
                (_("Finished"), widgets.clock(obj.finished_at)),
                (_("Lease number"), obj.lease_no),
                (_("Job id"), widgets.code(obj.job_id)),
            ],
            events=events,
            unreadable=bad,
        )


def _where_now(using: str, obj: Any) -> SafeString | str:
    """A link to the job, when this was not its end."""
    if obj.store:
        return "" if obj.outcome in JobHistory.FINAL else look_up_link(using, obj.store, obj.job_id)
    for model, words in ((Job, _("it is live")), (DeadLetterJob, _("it is a dead letter"))):
        if model._default_manager.using(using).filter(pk=obj.job_id).values("pk").exists():
            return widgets.link(page_url(model, obj.job_id), words)
    return ""
