"""Settings of every process of a Django app that is measured: the environment names the system and its database."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import django

from tests.benchmarks.systems import of_this_process

SYSTEM = of_this_process()

SECRET_KEY = "not a secret, these are benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [*(["django_tasks"] if django.VERSION < (6,) else []), *SYSTEM.apps, "tests.benchmarks"]

# Django logs two lines per job at INFO, and others do so, too. Off for all: this compares queues, not log handlers.
QUIET = ("django.tasks", "django_tasks", "django_ox", "dj_queue", "django-q")
LOGGING = {"version": 1, "loggers": {name: {"level": "WARNING"} for name in QUIET}}


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


def server(url: str) -> dict[str, Any]:
    """`?host=` is a socket directory, as in libpq; `?unix_socket=` the socket of MariaDB."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return {
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": query.get("host") or query.get("unix_socket") or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": None,
    }


def mariadb(url: str) -> dict[str, Any]:
    import pymysql

    pymysql.install_as_MySQLdb()
    options = {"charset": "utf8mb4", "isolation_level": "read committed"}
    return {"ENGINE": "django.db.backends.mysql", **server(url), "OPTIONS": options}


def database(address: str) -> dict[str, Any]:
    if address.startswith("/"):
        return sqlite(address)
    if address.startswith("mysql"):
        return mariadb(address)
    return {"ENGINE": "django.db.backends.postgresql", **server(address)}


DATABASES = {"default": database(SYSTEM.database)}
if SYSTEM.store == "redis":
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": SYSTEM.address}}
globals().update(SYSTEM.settings())
