import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.terminal import printable
from atelier.doctor import examine

COLOURS = {"pass": "SUCCESS", "warning": "WARNING", "fail": "ERROR", "unknown": "NOTICE"}


class Command(BaseCommand):
    help = "Checks settings and surroundings, and says what to do. Exits with 1 where something fails."
    # What is wrong with the settings is what it is asked for; Django's own checks would end it before.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object: every check with status and detail")

    def handle(self, *args: Any, **options: Any) -> None:
        found = examine()
        if options["json"]:
            self.stdout.write(json.dumps({name: asdict(finding) for name, finding in found.items()}, indent=2))
        else:
            for name, finding in found.items():
                paint = getattr(self.style, COLOURS[finding.status])
                self.stdout.write(f"{paint(f'{finding.status:<8}')} {name:<16} {printable(finding.detail)}")
                if finding.advice and finding.status != "pass":
                    self.stdout.write(f"{'':<25} → {printable(finding.advice)}")
        if any(finding.status == "fail" for finding in found.values()):
            sys.exit(1)
