"""The app: what is connected once Django is ready."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class JobQueueConfig(AppConfig):
    name = "django_jobqueue"
    label = "django_jobqueue"
    verbose_name = _("Job queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_jobqueue.checks import atomic, deployment, schedules  # noqa: F401 (they and their package register checks)
        from django_jobqueue.decorators import register_loaded_tasks

        autodiscover_modules("tasks", "jobs")
        register_loaded_tasks()
        autodiscover_modules("schedules")  # of tasks that are known by now
