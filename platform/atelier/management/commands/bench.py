import os
import sys
from typing import Any

from django.core.management.base import BaseCommand

from inference.supervisor import engine_environment


class Command(BaseCommand):
    help = "How fast a model runs on this machine: texts, pictures (--images) or clips (--video)."
    requires_system_checks = []

    def run_from_argv(self, argv: list[str]) -> None:
        """The flags are those of the process that measures, which has the model libraries and a fast BLAS."""
        command = [sys.executable, "-m", "inference.bench", *argv[2:]]
        sys.stdout.flush()
        os.execve(sys.executable, command, engine_environment())

    def handle(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError("bench takes the place of its process; start it from a command line.")
