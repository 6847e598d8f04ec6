"""Schedules and batches, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from django_jobqueue.admin import widgets
from django_jobqueue.admin.base import JobQueueAdmin
from django_jobqueue.admin.pages import Page
from django_jobqueue.models import JobBatch, RecurringJob


@admin.register(RecurringJob)
class ScheduleAdmin(JobQueueAdmin):
    list_display = ("title", "what", "rhythm", "switch", "last", "following")
    list_filter = ("kind", "enabled")
    search_fields = ("name", "task")
    ordering = ("name", "pk")
    narrow = ("args",)

    @admin.display(description=_("schedule"))
    def title(self, obj: Any) -> SafeString:
        return widgets.task_name(obj.name)

    @admin.display(description=_("task"))
    def what(self, obj: Any) -> SafeString:
        return widgets.task_name(obj.task)

    @admin.display(description=_("when"))
    def rhythm(self, obj: Any) -> str:
        return widgets.cut(f"{obj.get_kind_display()} {obj.expression}", 80)

    @admin.display(description=_("state"))
    def switch(self, obj: Any) -> SafeString:
        return widgets.badge("", _t("on"), "good") if obj.enabled else widgets.badge("", _t("off"), "mute")

    @admin.display(description=_("last run"))
    def last(self, obj: Any) -> Any:
        return widgets.ago(obj.last_run_at)

    @admin.display(description=_("next run"))
    def following(self, obj: Any) -> Any:
        return widgets.ago(obj.next_run_at)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        return Page(
            title=widgets.task_name(obj.name),
            badge=self.switch(obj),
            lead=self.rhythm(obj),
            call=widgets.stored_call(obj.args) if obj.args else {},
            facts=[
                (_("Task"), widgets.code(obj.task)),
                (_("Queue"), obj.queue),
                (_("Priority"), obj.priority),
                (_("Time zone"), obj.timezone),
                (_("Jitter"), f"{obj.jitter} s" if obj.jitter else ""),
                (_("Missed runs"), obj.misfire),
                (_("Overlapping runs"), obj.overlap),
                (_("Declared in"), obj.source),
                (_("Not before"), widgets.clock(obj.starts_at) if obj.starts_at else ""),
                (_("Not after"), widgets.clock(obj.ends_at) if obj.ends_at else ""),
                (_("Last run"), widgets.clock(obj.last_run_at)),
                (_("Next run"), widgets.clock(obj.next_run_at)),
            ],
        )


@admin.register(JobBatch)
class BatchAdmin(JobQueueAdmin):
    list_display = ("title", "state", "total", "pending", "failed", "created", "finished")
    search_fields = ("name",)
    ordering = ("-pk",)
    narrow = ("callbacks",)

    @admin.display(description=_("batch"))
    def title(self, obj: Any) -> SafeString:
        return widgets.task_name(obj.name or widgets.short_id(obj.pk))

    @admin.display(description=_("state"))
    def state(self, obj: Any) -> SafeString:
        if obj.finished_at is None:
            return widgets.badge("", _t("open"), "info")
        return widgets.badge("", _t("finished"), "bad" if obj.failed else "good")

    @admin.display(description=_("created"))
    def created(self, obj: Any) -> Any:
        return widgets.ago(obj.created_at)

    @admin.display(description=_("finished"))
    def finished(self, obj: Any) -> Any:
        return widgets.ago(obj.finished_at)

    def page(self, request: HttpRequest, obj: Any) -> Page:
        return Page(
            title=self.title(obj),
            badge=self.state(obj),
            facts=[
                (_("Jobs"), obj.total),
                (_("Still to end"), obj.pending),
                (_("Failed"), obj.failed),
                (_("Created"), widgets.clock(obj.created_at)),
                (_("Finished"), widgets.clock(obj.finished_at) if obj.finished_at else ""),
                (_("Callbacks"), widgets.cut(obj.callbacks, 2_000)),
                (_("Id"), widgets.code(obj.pk)),
            ],
        )
