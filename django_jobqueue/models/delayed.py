"""`delayed_jobs`: jobs that may not run yet, and why."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class DelayedJob(models.Model):
    """Scheduled, backing off, snoozed or blocked. Promotion moves what is due to the READY line in batches.

    `due_at` is null for what no clock can release (blocked, outbox), so it is never in the range promotion reads.
    A job on its way to another store (outbox) has that store's alias in `waiting_on`, and in `run_after` the moment it
    asked for.
    """

    class Reason(models.TextChoices):
        SCHEDULED = "scheduled", _("scheduled")
        RETRY = "retry", _("waits for its retry")
        SNOOZE = "snooze", _("snoozed")
        BLOCKED = "blocked", _("blocked")
        OUTBOX = "outbox", _("on its way to another store")

    job = models.OneToOneField(
        "django_jobqueue.Job", models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="delayed"
    )
    queue = models.CharField(_("queue"), max_length=100)
    priority = models.SmallIntegerField(_("priority"))
    due_at = MomentField(_("due at"), null=True)
    run_after = MomentField(_("not before"), null=True)
    reason = models.CharField(_("reason"), max_length=10, choices=Reason.choices)
    waiting_on = models.CharField(_("waits for"), max_length=200, default="", blank=True)
    attempt = models.SmallIntegerField(_("attempts spent"), default=0)
    lease_no = models.IntegerField(_("last lease number"), default=0)
    crashes = models.SmallIntegerField(_("workers lost"), default=0)

    class Meta:
        db_table = "jobqueue_delayed_jobs"
        verbose_name = _("delayed job")
        verbose_name_plural = _("delayed jobs")
        indexes = [models.Index(fields=["due_at"], name="jobqueue_delayed_due")]

    def __str__(self) -> str:
        return f"{self.job_id} {self.reason}"
