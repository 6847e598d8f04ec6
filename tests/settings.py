"""Settings of the test project: SQLite always, the other databases when `tests/services.py` found a server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django

SECRET_KEY = "not a secret, these are tests"
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["django_tasks"] if django.VERSION < (6,) else []),
    "django_jobqueue",
    "tests.testapp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


# databases


def sqlite(directory: str | None) -> dict[str, Any]:
    """A real file, so that threads and child processes share it. Without the plugin (checks, mypy) nothing is kept."""
    file = Path(directory, "main.sqlite3") if directory else None
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file or ":memory:"),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
        # pytest-django appends the xdist worker's name to this one
        "TEST": {"NAME": str(file.with_name("test.sqlite3"))} if file else {},
    }


def postgres(url: str) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.postgresql", **server(url), "TEST": {"DEPENDENCIES": []}}


def mariadb(url: str) -> dict[str, Any]:
    import pymysql

    pymysql.install_as_MySQLdb()
    socket = parse_qs(urlsplit(url).query).get("unix_socket", [""])[0]
    return {
        "ENGINE": "django.db.backends.mysql",
        **server(url),
        **({"HOST": socket} if socket else {}),
        "OPTIONS": {"charset": "utf8mb4", "isolation_level": "read committed"},
        "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci", "DEPENDENCIES": []},
    }


def server(url: str) -> dict[str, Any]:
    """The parts of a URL under Django's names; `?host=` is a socket directory, as in libpq."""
    parts = urlsplit(url)
    return {
        "NAME": "jobqueue",
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parse_qs(parts.query).get("host", [parts.hostname or ""])[0],
        "PORT": str(parts.port or ""),
    }


DATABASES = {"default": sqlite(os.environ.get("JOBQUEUE_TEST_DIR"))}
if url := os.environ.get("JOBQUEUE_TEST_POSTGRES_URL"):
    DATABASES["postgres"] = postgres(url)
if url := os.environ.get("JOBQUEUE_TEST_MARIADB_URL"):
    DATABASES["mariadb"] = mariadb(url)

# A child process of a test (a worker that is killed, a command) uses the test's databases: `child_env` in conftest.py.
for alias, name in json.loads(os.environ.get("JOBQUEUE_TEST_DATABASE_NAMES", "{}")).items():
    DATABASES[alias]["NAME"] = name

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
# one Redis database per xdist worker: gw0 has 1, gw1 has 2; without xdist it is 0
REDIS_DATABASE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
# and a prefix: a cluster has one database only, and a word to sleeping workers is heard in all databases of a server
REDIS_PREFIX = f"jobqueue-{REDIS_DATABASE}"
for name in ("redis", "redis62"):
    if url := os.environ.get(f"JOBQUEUE_TEST_{name.upper()}_URL"):
        CACHES[name] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{url}?db={REDIS_DATABASE}"}


# tasks

TASKS: dict[str, Any] = {"default": {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "QUEUES": []}}
for alias in DATABASES.keys() - {"default"}:
    TASKS[alias] = {
        "BACKEND": "django_jobqueue.backends.DatabaseBackend",
        "QUEUES": [],
        "OPTIONS": {"database": alias},
    }

for alias in CACHES.keys() & {"redis", "redis62"}:
    TASKS[alias] = {
        "BACKEND": "django_jobqueue.backends.RedisBackend",
        "QUEUES": [],
        "OPTIONS": {"connection": alias, "prefix": REDIS_PREFIX},
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr}},
    "loggers": {"django_jobqueue": {"handlers": ["stderr"] if os.environ.get("JOBQUEUE_TEST_LOG") else []}},
}
