"""`dead_letter_jobs`: jobs that will not run again by themselves, whole, with the reason."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class DeadLetterJob(models.Model):
    """The whole job and why it died. Nothing leaves by itself: only retry, discard, or a cleanup somebody asked for.

    `store` is where the job lived and where a retry puts it: empty for this database, else a Redis store by its alias.
    """

    class Reason(models.TextChoices):
        EXHAUSTED = "exhausted", _("failed for good")
        DISCARDED = "discarded", _("discarded by the task")
        UNKNOWN_TASK = "unknown_task", _("unknown task")
        PAYLOAD_INVALID = "payload_invalid", _("arguments can't be decoded")
        SIGNATURE_MISMATCH = "signature_mismatch", _("arguments don't fit the task")
        WORKER_LOST = "worker_lost", _("brought its workers down")
        RESULT_INVALID = "result_invalid", _("its result can't be stored")
        EXPIRED = "expired", _("expired")
        KEY_HELD = "key_held", _("its unique key was taken meanwhile")

    id = models.UUIDField(primary_key=True, editable=False)
    queue = models.CharField(_("queue"), max_length=100)
    task = models.CharField(_("task"), max_length=255)
    args = models.TextField(_("arguments"))
    priority = models.SmallIntegerField(_("priority"))
    max_attempts = models.SmallIntegerField(_("attempts allowed"))
    timeout = models.FloatField(_("timeout in seconds"), null=True)
    crash_budget = models.SmallIntegerField(_("workers it may bring down"), null=True)
    unique_key = models.CharField(_("unique key"), max_length=200, null=True)  # noqa: DJ001
    concurrency_key = models.CharField(_("concurrency key"), max_length=200, default="", blank=True)
    batch_id = models.UUIDField(_("batch"), null=True)
    attempt = models.SmallIntegerField(_("attempts spent"))
    lease_no = models.IntegerField(_("last lease number"))
    crashes = models.SmallIntegerField(_("workers lost"), default=0)
    reason = models.CharField(_("reason"), max_length=20, choices=Reason.choices)
    error_class = models.CharField(_("error"), max_length=255, default="", blank=True)
    error_message = models.TextField(_("message"), default="", blank=True)
    traceback = models.TextField(_("traceback"), default="", blank=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=40, default="", blank=True)
    times_retried = models.SmallIntegerField(_("times brought back"), default=0)
    enqueued_at = MomentField(_("enqueued at"))
    failed_at = MomentField(_("failed at"))
    store = models.CharField(_("store"), max_length=100, default="", db_default="", blank=True)

    class Meta:
        db_table = "jobqueue_dead_letter_jobs"
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        permissions = [
            ("retry_deadletterjob", "Can retry dead letters"),
            ("edit_retry_deadletterjob", "Can retry dead letters with edited arguments"),
            ("discard_deadletterjob", "Can discard dead letters"),
        ]
        indexes = [
            models.Index(fields=["queue", "failed_at", "store"], name="jobqueue_dead_queue"),
            models.Index(fields=["task", "error_class", "failed_at"], name="jobqueue_dead_error"),
            models.Index(fields=["failed_at"], name="jobqueue_dead_age"),
            models.Index(fields=["fingerprint"], name="jobqueue_dead_fingerprint"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.reason}"

    @property
    def dead_letter_queue(self) -> str:
        """Where it lies: every queue has its own dead letter queue, `emails` has `emails.dlq`."""
        return f"{self.queue}.dlq"
