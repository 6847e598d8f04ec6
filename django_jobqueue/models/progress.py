"""`job_progress`: how far a running job has come."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class JobProgress(models.Model):
    """The latest word of a job about itself; `lease_no` fences it like every write of a worker."""

    job_id = models.UUIDField(_("job"), primary_key=True)
    lease_no = models.IntegerField(_("lease number"))
    current = models.BigIntegerField(_("done"), default=0)
    total = models.BigIntegerField(_("of"), null=True)
    message = models.CharField(_("message"), max_length=500, default="", blank=True)
    checkpoint = models.TextField(_("checkpoint"), default="", blank=True)
    updated_at = MomentField(_("updated at"))

    class Meta:
        db_table = "jobqueue_job_progress"
        verbose_name = _("progress")
        verbose_name_plural = _("progress")

    def __str__(self) -> str:
        return f"{self.current}/{self.total or '?'}"
