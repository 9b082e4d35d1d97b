"""The `atelier` command: Django's commands and our own."""

import os
import sys
from importlib.metadata import version

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atelier.settings")
    if sys.argv[1:] in (["--version"], ["version"]):
        print("Atelier", version("atelier"))
        return
    try:
        execute_from_command_line(["atelier", *sys.argv[1:]])
    except ImproperlyConfigured as error:
        # A wrong environment variable is the operator's to mend; a stack trace would only hide its name.
        sys.exit(f"atelier: {error}")
