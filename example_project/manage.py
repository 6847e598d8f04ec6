#!/usr/bin/env python
"""The example shop's manage.py. `demo` runs everything once and says what happened."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_site.settings")
    execute_from_command_line(sys.argv)
