"""Batches, to look at."""

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
from django_jobqueue.models import JobBatch


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
