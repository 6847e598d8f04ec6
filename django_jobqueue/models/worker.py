"""`worker_processes`: who is at work, and until when that is believed."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_jobqueue.models.moments import MomentField


class WorkerProcess(models.Model):
    """One row per worker. A heartbeat is one UPDATE here and covers all leases of the worker.

    `store` is the alias of the Redis store it serves, empty for this database. A worker of a Redis store is believed
    alive by that store; its row here is what people see.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        QUIET = "quiet", _("takes no more jobs")
        STOPPING = "stopping", _("stopping")
        STOPPED = "stopped", _("stopped")
        DEAD = "dead", _("dead")

    ALIVE = (State.RUNNING, State.QUIET, State.STOPPING)
    """What a worker that has neither left nor died may be doing."""

    id = models.UUIDField(primary_key=True, editable=False)
    name = models.CharField(_("name"), max_length=200)
    host = models.CharField(_("host"), max_length=100)
    pid = models.IntegerField(_("process id"))
    queues = models.TextField(_("queues"), default="", blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.RUNNING)
    desired_state = models.CharField(_("desired state"), max_length=10, default="", blank=True)
    running = models.TextField(_("runs"), default="", blank=True)
    completed = models.BigIntegerField(_("completed"), default=0)
    failed = models.BigIntegerField(_("failed"), default=0)
    rss_kb = models.IntegerField(_("memory in KiB"), default=0)
    version = models.CharField(_("version"), max_length=40, default="", blank=True)
    started_at = MomentField(_("started at"))
    heartbeat_at = MomentField(_("last heartbeat"))
    expires_at = MomentField(_("believed alive until"))
    store = models.CharField(_("store"), max_length=100, default="", db_default="", blank=True)

    class Meta:
        db_table = "jobqueue_worker_processes"
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        indexes = [models.Index(fields=["state", "expires_at"], name="jobqueue_worker_expiry")]

    def __str__(self) -> str:
        return self.name
