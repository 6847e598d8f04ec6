"""Settings of workers that tests start: a lease of a second or two, and what else the test says in the environment."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS, TASKS

# Only what the test uses: Django's checks, at the start of a command, connect to every database there is.
used = {"default", os.environ.get("JOBQUEUE_TEST_ALIAS", "default")}
DATABASES = {alias: database for alias, database in DATABASES.items() if alias in used}
TASKS = {alias: backend for alias, backend in TASKS.items() if alias in used}
INSTALLED_APPS = [*INSTALLED_APPS, "tests.crash"]
JOBQUEUE = json.loads(os.environ.get("JOBQUEUE_TEST_CONF", "{}"))
for backend in TASKS.values():
    options = backend.setdefault("OPTIONS", {})
    options["lease"] = float(os.environ.get("JOBQUEUE_TEST_LEASE", "30"))
