"""A command that begins while its database is away, and waits for it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError


class PatientCommand(BaseCommand):
    def check(self, *args: Any, **options: Any) -> None:
        """Some of Django's checks ask MariaDB and MySQL. A database that is away is waited for, here too."""
        try:
            super().check(*args, **options)
        except (OperationalError, InterfaceError) as error:
            self.stderr.write(self.style.WARNING(f"System checks could not ask their database: {error}"))
