"""The admin over one PostgreSQL database, which is `default` here."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, TASKS

DATABASES = {"default": DATABASES["postgres"]}
TASKS = {"default": TASKS["default"]}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
