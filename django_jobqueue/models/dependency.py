"""`job_dependencies`: which job waits for which."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class JobDependency(models.Model):
    """`child` may start when `parent` has ended; `on_failure` says what becomes of it when the parent fails."""

    parent_id = models.UUIDField(_("waits for"))
    child_id = models.UUIDField(_("job"))
    on_failure = models.CharField(_("when the parent fails"), max_length=10, default="cancel")

    class Meta:
        db_table = "jobqueue_job_dependencies"
        verbose_name = _("dependency")
        verbose_name_plural = _("dependencies")
        indexes = [models.Index(fields=["child_id"], name="jobqueue_dependency_child")]
        constraints = [models.UniqueConstraint(fields=["parent_id", "child_id"], name="jobqueue_dependency_once")]

    def __str__(self) -> str:
        return f"{self.child_id} after {self.parent_id}"
