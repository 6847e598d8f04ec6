"""`recurring_jobs`: schedules."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class RecurringJob(models.Model):
    """When which task is to run. `task` is a registry name, never an import path."""

    class Kind(models.TextChoices):
        CRON = "cron", _("cron")
        INTERVAL = "interval", _("interval")
        ONCE = "once", _("once")
        MANUAL = "manual", _("manual")

    name = models.CharField(_("name"), max_length=200, unique=True)
    task = models.CharField(_("task"), max_length=255)
    args = models.TextField(_("arguments"), default="", blank=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    expression = models.CharField(_("expression"), max_length=200, default="", blank=True)
    timezone = models.CharField(_("time zone"), max_length=64, default="UTC")
    queue = models.CharField(_("queue"), max_length=100, default="default")
    priority = models.SmallIntegerField(_("priority"), default=0)
    jitter = models.FloatField(_("jitter in seconds"), default=0)
    misfire = models.CharField(_("missed runs"), max_length=10, default="once")
    overlap = models.CharField(_("overlapping runs"), max_length=10, default="allow")
    enabled = models.BooleanField(_("enabled"), default=True)
    source = models.CharField(_("declared in"), max_length=10, default="code")
    starts_at = models.DateTimeField(_("not before"), null=True, blank=True)
    ends_at = models.DateTimeField(_("not after"), null=True, blank=True)
    last_run_at = models.DateTimeField(_("last run"), null=True, blank=True)
    next_run_at = models.DateTimeField(_("next run"), null=True, blank=True)

    class Meta:
        db_table = "jobqueue_recurring_jobs"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        indexes = [models.Index(fields=["next_run_at"], name="jobqueue_recurring_next")]

    def __str__(self) -> str:
        return self.name
