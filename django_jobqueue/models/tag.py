"""`job_tags`: words to find jobs by."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class JobTag(models.Model):
    """One word on one job."""

    tag = models.CharField(_("tag"), max_length=100)
    job_id = models.UUIDField(_("job"))

    class Meta:
        db_table = "jobqueue_job_tags"
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        indexes = [models.Index(fields=["job_id"], name="jobqueue_tag_job")]
        constraints = [models.UniqueConstraint(fields=["tag", "job_id"], name="jobqueue_tag_once")]

    def __str__(self) -> str:
        return self.tag
