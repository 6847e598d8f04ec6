"""`job_batches`: jobs that belong together, and how many of them are still to end."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class JobBatch(models.Model):
    """Counters of a batch; they move in the transaction that settles each job."""

    id = models.UUIDField(primary_key=True, editable=False)
    name = models.CharField(_("name"), max_length=200, default="", blank=True)
    total = models.IntegerField(_("jobs"), default=0)
    pending = models.IntegerField(_("still to end"), default=0)
    failed = models.IntegerField(_("failed"), default=0)
    callbacks = models.TextField(_("callbacks"), default="", blank=True)
    created_at = MomentField(_("created at"))
    finished_at = MomentField(_("finished at"), null=True)

    class Meta:
        db_table = "jobqueue_job_batches"
        verbose_name = _("batch")
        verbose_name_plural = _("batches")

    def __str__(self) -> str:
        return self.name or str(self.id)
