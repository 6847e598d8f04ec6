"""What jobs do in the database of their queue: one row for each completed execution, if all is well."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """Nothing is unique here: that there is one row per job is what is to be shown."""

    job_id = models.UUIDField()
    lease_no = models.IntegerField()
