"""`recurring_jobs`: schedules."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class RecurringJob(models.Model):
    """When which task is to run. `task` is a registry name, never an import path.

    `next_run_at` is the next tick; `due_at` is when a scheduler has to look: then, or later after an attempt that
    failed, or while the tick waits for the previous job. A schedule that never runs by itself (paused, retired, over,
    manual) has no `due_at`, so it is never in the range a scheduler reads. Whoever changes when a schedule runs goes
    through `scheduling`, which computes both. `last_run_at` is the last tick a decision was made for.
    """

    class Kind(models.TextChoices):
        CRON = "cron", _("cron")
        INTERVAL = "interval", _("interval")
        ONCE = "once", _("once")
        MANUAL = "manual", _("manual")

    class Misfire(models.TextChoices):
        SKIP = "skip", _("skip them")
        ONCE = "once", _("one job for all of them")
        ALL = "all", _("one job for each")

    class Overlap(models.TextChoices):
        ALLOW = "allow", _("run at the same time")
        SKIP = "skip", _("skip the tick")
        QUEUE = "queue", _("wait for the previous job")

    class Source(models.TextChoices):
        CODE = "code", _("code")
        ADMIN = "admin", _("admin")
        CHORE = "chore", _("chore of the scheduler")

    name = models.CharField(_("name"), max_length=255, unique=True)
    task = models.CharField(_("task"), max_length=255)
    args = models.TextField(_("arguments"), default="", blank=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    expression = models.CharField(_("expression"), max_length=200, default="", blank=True)
    timezone = models.CharField(_("time zone"), max_length=64, default="UTC")
    backend = models.CharField(_("backend"), max_length=100, default="default")
    queue = models.CharField(_("queue"), max_length=100, default="", blank=True)
    priority = models.SmallIntegerField(_("priority"), null=True, blank=True)
    jitter = models.FloatField(_("jitter in seconds"), default=0)
    misfire = models.CharField(_("missed runs"), max_length=10, choices=Misfire.choices, default=Misfire.ONCE)
    misfire_limit = models.PositiveIntegerField(_("at most so many missed runs"), default=10)
    grace = models.FloatField(_("seconds until a run is missed"), default=60)
    overlap = models.CharField(_("overlapping runs"), max_length=10, choices=Overlap.choices, default=Overlap.ALLOW)
    enabled = models.BooleanField(_("enabled"), default=True)
    source = models.CharField(_("declared in"), max_length=10, choices=Source.choices, default=Source.ADMIN)
    starts_at = MomentField(_("not before"), null=True, blank=True)
    ends_at = MomentField(_("not after"), null=True, blank=True)
    last_run_at = MomentField(_("last run"), null=True, blank=True)
    next_run_at = MomentField(_("next run"), null=True, blank=True)
    due_at = MomentField(_("due at"), null=True, blank=True)
    last_job_id = models.UUIDField(_("last job"), null=True, blank=True)
    failures = models.IntegerField(_("failed attempts since the last success"), default=0)
    last_error = models.TextField(_("last error"), default="", blank=True)
    retired_at = MomentField(_("retired at"), null=True, blank=True)
    changed_at = MomentField(_("changed at"), null=True, blank=True)

    class Meta:
        db_table = "jobqueue_recurring_jobs"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        permissions = [
            ("trigger_recurringjob", _("Can run a schedule now")),
            ("pause_recurringjob", _("Can pause and resume schedules")),
        ]
        indexes = [models.Index(fields=["due_at"], name="jobqueue_recurring_due")]

    def __str__(self) -> str:
        return self.name
