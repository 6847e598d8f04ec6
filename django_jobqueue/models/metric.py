"""`job_metrics`: what happened, per minute, queue and task."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class JobMetric(models.Model):
    """One minute of one task in one queue. The histograms are mergeable: adding rows adds minutes."""

    minute = MomentField(_("minute"))
    queue = models.CharField(_("queue"), max_length=100)
    task = models.CharField(_("task"), max_length=255)
    completed = models.IntegerField(_("completed"), default=0)
    retrying = models.IntegerField(_("retried"), default=0)
    failed = models.IntegerField(_("failed"), default=0)
    lost = models.IntegerField(_("lost"), default=0)
    cancelled = models.IntegerField(_("cancelled"), default=0)
    wait_ms = models.BigIntegerField(_("waited in all, in ms"), default=0)
    run_ms = models.BigIntegerField(_("ran in all, in ms"), default=0)
    wait_histogram = models.TextField(_("waits"), default="", blank=True)
    run_histogram = models.TextField(_("run times"), default="", blank=True)
    memory_kb = models.IntegerField(_("peak memory, in KiB"), default=0)

    class Meta:
        db_table = "jobqueue_job_metrics"
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")
        constraints = [models.UniqueConstraint(fields=["minute", "queue", "task"], name="jobqueue_metric_once")]

    def __str__(self) -> str:
        return f"{self.queue} {self.task} {self.minute:%F %R}"
