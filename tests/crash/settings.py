"""Settings of workers that tests start: a lease of a second or two, and what else the test says in the environment."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, TASKS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.crash"]
JOBQUEUE = json.loads(os.environ.get("JOBQUEUE_TEST_CONF", "{}"))
for backend in TASKS.values():
    options = backend.setdefault("OPTIONS", {})
    options["lease"] = float(os.environ.get("JOBQUEUE_TEST_LEASE", "30"))
