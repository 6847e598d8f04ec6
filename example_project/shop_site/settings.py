"""Settings of the example shop. SQLite here, unless the environment says otherwise.

- JOBQUEUE_EXAMPLE_POSTGRES=postgresql://user:password@host:5432/name: use this database (needs psycopg)
- JOBQUEUE_EXAMPLE_REDIS=redis://host:6379/0 or unix:///path: have the jobs in this Redis (with_redis.py starts one)
- JOBQUEUE_EXAMPLE_STORE=database, redis or both: with both, only pictures and billing are in Redis
- JOBQUEUE_EXAMPLE_DIR=folder: where the SQLite file and var/ are
- JOBQUEUE_EXAMPLE_DEBUG=0: what the demo gives its worker, since DEBUG remembers every query
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import django
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("JOBQUEUE_EXAMPLE_DIR", BASE_DIR)).resolve()
VAR_DIR = DATA_DIR / "var"
SAMPLES_DIR = BASE_DIR / "samples"

SECRET_KEY = "an example has no secrets"
DEBUG = os.environ.get("JOBQUEUE_EXAMPLE_DEBUG", "1") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "shop_site.urls"
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = VAR_DIR / "media"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["django_tasks"] if django.VERSION < (6,) else []),  # Django 6 has tasks of its own
    "django_jobqueue",
    "shop",
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


def sqlite() -> dict[str, Any]:
    """WAL: readers don't wait for the writer. IMMEDIATE: a transaction that writes queues up instead of failing."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }


def postgres(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parse_qs(parts.query).get("host", [parts.hostname or ""])[0],  # a socket's directory, as in libpq
        "PORT": str(parts.port or ""),
    }


postgres_url = os.environ.get("JOBQUEUE_EXAMPLE_POSTGRES")
DATABASES = {"default": postgres(postgres_url) if postgres_url else sqlite()}

# the queue

REDIS = os.environ.get("JOBQUEUE_EXAMPLE_REDIS")
STORE = os.environ.get("JOBQUEUE_EXAMPLE_STORE") or ("redis" if REDIS else "database")
PREFIX = "shop"
QUEUES = ["default", "orders", "billing", "pictures"]

in_database = {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "QUEUES": QUEUES}
in_redis = {
    "BACKEND": "django_jobqueue.backends.RedisBackend",
    "QUEUES": QUEUES,
    "OPTIONS": {"connection": "jobqueue", "prefix": PREFIX, "record": "all"},
}
choice = {
    "database": {"default": in_database},
    "redis": {"default": in_redis},
    "both": {"default": in_database, "fast": in_redis},
}
if STORE not in choice:
    raise ImproperlyConfigured(f"JOBQUEUE_EXAMPLE_STORE is {STORE!r}, which is none of {', '.join(choice)}.")
if STORE != "database" and not REDIS:
    raise ImproperlyConfigured(f"The store {STORE!r} needs JOBQUEUE_EXAMPLE_REDIS; with_redis.py starts a server.")
TASKS = choice[STORE]
FAST = "fast" if STORE == "both" else "default"
"""The backend of pictures and billing."""

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if STORE != "database":
    CACHES["jobqueue"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS}

# mail: into files, and from a server as moody as real ones are (shop/outside.py)

MAIL_BACKEND = "shop.outside.MailServer"
MAIL_DIR = VAR_DIR / "mail"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": MAIL_BACKEND, "OPTIONS": {"file_path": MAIL_DIR}}}
else:
    EMAIL_BACKEND = MAIL_BACKEND
    EMAIL_FILE_PATH = MAIL_DIR

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname:7} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"django_jobqueue": {"handlers": ["console"], "level": "INFO"}},
}
