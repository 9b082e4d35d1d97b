"""The `atelier` command: Django's commands and our own."""

import os
import sys
from importlib.metadata import version

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

UNAUDITED = {"createsuperuser": "createuser NAME --admin", "changepassword": "resetlink NAME"}
"""Django's commands that would leave nothing in the audit log, and ours for the same."""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atelier.settings")
    if sys.argv[1:] in (["--version"], ["version"]):
        print("Atelier", version("atelier"))
        return
    if sys.argv[1:] and (ours := UNAUDITED.get(sys.argv[1])):
        sys.exit(f"atelier: {sys.argv[1]} would leave nothing in the audit log; use `atelier {ours}`.")
    try:
        execute_from_command_line(["atelier", *sys.argv[1:]])
    except ImproperlyConfigured as error:
        # A wrong environment variable is the operator's to mend; a stack trace would only hide its name.
        sys.exit(f"atelier: {error}")
