"""`job_priorities`: the READY line. A job has a row here exactly while it may be claimed."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class JobPriority(models.Model):
    """A place in the line. `seq` is the store's clock in ns when the job became ready, plus its place in the push.

    So the line is first in, first out inside a priority, and a released job returns to the very place it had.
    """

    job = models.OneToOneField(
        "django_jobqueue.Job", models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="ready"
    )
    queue = models.CharField(_("queue"), max_length=100)
    priority = models.SmallIntegerField(_("priority"))
    seq = models.BigIntegerField(_("place in the line"))
    attempt = models.SmallIntegerField(_("attempts spent"), default=0)
    lease_no = models.IntegerField(_("last lease number"), default=0)
    crashes = models.SmallIntegerField(_("workers lost"), default=0)

    class Meta:
        db_table = "jobqueue_job_priorities"
        verbose_name = _("waiting job")
        verbose_name_plural = _("waiting jobs")
        indexes = [models.Index(fields=["queue", "-priority", "seq"], name="jobqueue_ready_line")]

    def __str__(self) -> str:
        return f"{self.queue} {self.priority} {self.job_id}"
