"""`job_locks`: who holds what. Leases of running jobs, and named locks and slots."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class JobLock(models.Model):
    """A lease (id = the job's id, `name` empty) or a named lock or slot (id = uuid5 of its name and number).

    A lease lives as long as its worker's heartbeat does, so heartbeats never touch this table. `seq` and `crashes` are
    carried along so that a released job returns to its place and crashes add up. `cancel` is null until somebody asks
    the job to stop; no hot statement writes it.
    """

    class Cancel(models.IntegerChoices):
        ASKED = 1, _("asked")
        KILL = 2, _("to be killed")

    id = models.UUIDField(primary_key=True, editable=False)
    name = models.CharField(_("name"), max_length=200, default="", blank=True)
    worker_id = models.UUIDField(_("worker"), null=True)
    owner_id = models.UUIDField(_("job that owns the slot"), null=True)
    lease_no = models.IntegerField(_("lease number"), default=0)
    queue = models.CharField(_("queue"), max_length=100, default="")
    priority = models.SmallIntegerField(_("priority"), default=0)
    seq = models.BigIntegerField(_("place in the line"), default=0)
    attempt = models.SmallIntegerField(_("attempt"), default=0)
    crashes = models.SmallIntegerField(_("workers lost"), default=0)
    claimed_at = MomentField(_("claimed at"))
    expires_at = MomentField(_("expires at"), null=True)
    cancel = models.SmallIntegerField(_("asked to stop"), choices=Cancel.choices, null=True)

    class Meta:
        db_table = "jobqueue_job_locks"
        verbose_name = _("lock")
        verbose_name_plural = _("locks")

    def __str__(self) -> str:
        return self.name or f"lease {self.lease_no} of {self.id}"
