"""Settings of every process of a chaos run."""

from __future__ import annotations

from tests.crash.settings import *  # noqa: F403
from tests.crash.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos"]
