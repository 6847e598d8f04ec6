"""Settings of every process that is measured: one system and its database, named by the environment."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django

from tests.benchmarks.systems import OURS_ON_REDIS, SYSTEMS

SECRET_KEY = "not a secret, these are benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SYSTEM = {one.name: one for one in (*SYSTEMS.values(), *OURS_ON_REDIS.values())}[os.environ["BENCH_SYSTEM"]]
INSTALLED_APPS = [*(["django_tasks"] if django.VERSION < (6,) else []), *SYSTEM.apps, "tests.benchmarks"]
TASKS = {"default": {"BACKEND": SYSTEM.backend, "QUEUES": ["default"], "OPTIONS": SYSTEM.options}}

# Django logs two lines per job at INFO. Off for every system: this compares queues, not log handlers.
LOGGING = {"version": 1, "loggers": {name: {"level": "WARNING"} for name in ("django.tasks", "django_tasks")}}


def sqlite(file: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }


def postgres(url: str) -> dict[str, Any]:
    """`?host=` is a socket directory, as in libpq."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parse_qs(parts.query).get("host", [parts.hostname or ""])[0],
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": None,
    }


DATABASE = os.environ["BENCH_DATABASE"]
DATABASES = {"default": sqlite(DATABASE) if DATABASE.startswith("/") else postgres(DATABASE)}
if url := os.environ.get("BENCH_REDIS"):
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
