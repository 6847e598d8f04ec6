"""A project of its own: one SQLite file, everybody is logged in, and inline code is forbidden where Django can."""

from __future__ import annotations

import os
from pathlib import Path

import django

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(Path(os.environ["JOBQUEUE_SCREENSHOTS_DIR"], "shop.sqlite3")),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
TASKS = {"default": {"BACKEND": "django_jobqueue.backends.DatabaseBackend", "QUEUES": []}}
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "tests.testapp"]
MIDDLEWARE = [*MIDDLEWARE, "tests.screenshots.login.log_in"]
TEMPLATES = TEMPLATES

if django.VERSION >= (6,):
    MIDDLEWARE.append("django.middleware.csp.ContentSecurityPolicyMiddleware")
    SECURE_CSP = {"default-src": ["'self'"]}
