"""`job_history`: one row per finished execution, append only."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class JobHistory(models.Model):
    """What became of one execution. (job, lease number) names it for ever, so a repeated write changes nothing.

    `args` is kept on the row that ended the job; the others leave it empty. `store` is empty for a job that lived in
    this database, and for one of a Redis store the alias of that store in `TASKS`.
    """

    class Outcome(models.TextChoices):
        COMPLETED = "completed", _("completed")
        RETRYING = "retrying", _("failed, will be retried")
        FAILED = "failed", _("failed for good")
        SNOOZED = "snoozed", _("snoozed")
        LOST = "lost", _("worker lost")
        CANCELLED = "cancelled", _("cancelled")
        DISCARDED = "discarded", _("discarded by an operator")

    FINAL = (Outcome.COMPLETED, Outcome.CANCELLED, Outcome.DISCARDED)
    """Outcomes after which a job id never runs again."""

    id = models.BigAutoField(primary_key=True)
    job_id = models.UUIDField(_("job"))
    lease_no = models.IntegerField(_("lease number"))
    attempt = models.SmallIntegerField(_("attempt"))
    queue = models.CharField(_("queue"), max_length=100)
    task = models.CharField(_("task"), max_length=255)
    args = models.TextField(_("arguments"), default="", blank=True)
    priority = models.SmallIntegerField(_("priority"), default=0)
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome.choices)
    result = models.TextField(_("result"), default="", blank=True)
    error_class = models.CharField(_("error"), max_length=255, default="", blank=True)
    error_message = models.TextField(_("message"), default="", blank=True)
    traceback = models.TextField(_("traceback"), default="", blank=True)
    wait_ms = models.BigIntegerField(_("waited, in ms"), default=0)
    run_ms = models.BigIntegerField(_("ran, in ms"), default=0)
    memory_kb = models.IntegerField(_("peak memory, in KiB"), default=0)
    worker_id = models.UUIDField(_("worker"), null=True)
    enqueued_at = MomentField(_("enqueued at"))
    started_at = MomentField(_("started at"), null=True)
    finished_at = MomentField(_("finished at"))
    store = models.CharField(_("store"), max_length=100, default="", db_default="", blank=True)

    class Meta:
        db_table = "jobqueue_job_history"
        verbose_name = _("finished execution")
        verbose_name_plural = _("history")
        indexes = [models.Index(fields=["finished_at"], name="jobqueue_history_age")]
        constraints = [models.UniqueConstraint(fields=["job_id", "lease_no"], name="jobqueue_history_once")]

    def __str__(self) -> str:
        return f"{self.task} {self.outcome}"
