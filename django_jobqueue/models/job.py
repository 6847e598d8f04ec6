"""`jobs`: one row per live job, written once, deleted when the job is over."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Case, CharField, Exists, OuterRef, Value, When
from django.utils.translation import gettext_lazy as _

from django_jobqueue.jobs.status import JobStatus
from django_jobqueue.models.delayed import DelayedJob
from django_jobqueue.models.lock import JobLock
from django_jobqueue.models.moments import MomentField
from django_jobqueue.models.ready import JobPriority


class JobQuerySet(models.QuerySet["Job"]):
    def with_status(self) -> Any:
        """Each job with `status`: read off the room it is in, so it can't disagree with it."""
        retrying = Exists(
            DelayedJob.objects.using(self.db).filter(job_id=OuterRef("pk"), reason=DelayedJob.Reason.RETRY)
        )
        return self.annotate(
            status=Case(
                When(
                    Exists(JobLock.objects.using(self.db).filter(pk=OuterRef("pk"))), then=Value(JobStatus.PROCESSING)
                ),
                When(retrying, then=Value(JobStatus.RETRYING)),
                default=Value(JobStatus.PENDING),
                output_field=CharField(),
            )
        )

    def ready(self) -> JobQuerySet:
        return self.filter(Exists(JobPriority.objects.using(self.db).filter(job_id=OuterRef("pk"))))

    def delayed(self) -> JobQuerySet:
        return self.filter(Exists(DelayedJob.objects.using(self.db).filter(job_id=OuterRef("pk"))))

    def running(self) -> JobQuerySet:
        return self.filter(Exists(JobLock.objects.using(self.db).filter(pk=OuterRef("pk"))))


class Job(models.Model):
    """Identity, call and policy of a live job. Which room it is in is told by the three narrow tables.

    `args` is JSON *text*: a claim never decodes it, so one bad row can't stop a queue. `unique_key` is free again as
    soon as the row is gone; that of a job on its way to another store has the alias in front, so no key of this store
    is like it. Where the database can, its index holds no nulls: most jobs have no key, and a push would write an entry
    for each. `crash_budget` is null where the project's setting counts. No foreign key constraints on the hot tables: a
    check is a lock and a heap write per row.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    queue = models.CharField(_("queue"), max_length=100)
    task = models.CharField(_("task"), max_length=255)
    args = models.TextField(_("arguments"))
    priority = models.SmallIntegerField(_("priority"))
    max_attempts = models.SmallIntegerField(_("attempts allowed"))
    timeout = models.FloatField(_("timeout in seconds"), null=True)
    crash_budget = models.SmallIntegerField(_("workers it may bring down"), null=True)
    unique_key = models.CharField(_("unique key"), max_length=255, null=True)  # noqa: DJ001
    concurrency_key = models.CharField(_("concurrency key"), max_length=200, default="", blank=True)
    batch = models.ForeignKey(
        "django_jobqueue.JobBatch",
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="jobs",
        verbose_name=_("batch"),
    )
    times_retried = models.SmallIntegerField(_("times brought back from the dead letters"), default=0)
    created_at = MomentField(_("enqueued at"))

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "jobqueue_jobs"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        constraints = [models.UniqueConstraint(fields=["unique_key"], name="jobqueue_unique_key")]
        permissions = [
            ("cancel_job", "Can cancel jobs"),
            ("kill_job", "Can stop running jobs by force"),
            ("run_job_now", "Can make delayed jobs run now"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.id}"
