import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.management.base import AccountCommand
from accounts.terminal import print_table, printable
from inference import library
from inference.catalogue import listed
from inference.engine.options import OptionError
from inference.hub.cache import gb
from inference.hub.client import Hub
from inference.hub.errors import HubError
from inference.inspection import TOKENS, inspect_source, lines
from inference.models import Model
from inference.sources import SourceError

HEADERS = ("model", "from", "state", "kind", "size", "served on", "other names")


class Command(AccountCommand):
    help = "Lists the models that are known, and says what one is; adds, names and removes them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")
        parsers = parser.add_subparsers(dest="verb", metavar="VERB")
        inspect = parsers.add_parser("inspect", help="what a model is and whether it fits, before it is downloaded")
        inspect.add_argument("model", metavar="MODEL", help="a folder, a Hugging Face id or a name")
        inspect.add_argument("--revision", default="", help="a branch, a tag or a commit")
        inspect.add_argument(
            "--tokens", type=int, default=TOKENS, help="of a request, for the count of those that fit (%(default)s)"
        )
        inspect.add_argument("--json", action="store_true", help="for programs", dest="json_too")
        add = parsers.add_parser("add", help="makes a model known; nothing is fetched")
        add.add_argument("model", metavar="MODEL", help="a folder or a Hugging Face id")
        add.add_argument("--revision", default="", help="what to pin it to")
        add.add_argument("--alias", action="append", default=[], help="another name; may be given several times")
        alias = parsers.add_parser("alias", help="gives a model these other names, and no others")
        alias.add_argument("model", metavar="MODEL")
        alias.add_argument("alias", nargs="*", metavar="NAME")
        remove = parsers.add_parser("remove", help="forgets a model")
        remove.add_argument("model", metavar="MODEL")
        remove.add_argument("--files", action="store_true", help="delete what was downloaded of it, too")

    def handle(self, *args: Any, verb: str | None, **options: Any) -> None:
        try:
            match verb:
                case None:
                    self.show(options["json"])
                case "inspect":
                    self.inspect(**options)
                case "add":
                    self.add(**options)
                case "alias":
                    model = self.known(options["model"])
                    library.do_change_model(model, acting_user=None, aliases=options["alias"])
                    self.stdout.write(f"{model} is also called {', '.join(options['alias']) or 'nothing else'}.")
                case "remove":
                    self.remove(**options)
        except (SourceError, HubError, OptionError, library.InUse) as error:
            raise CommandError(printable(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error

    def show(self, as_json: bool) -> None:
        found = listed()
        if as_json:
            self.stdout.write(json.dumps([each.shown() for each in found], indent=2))
            return
        rows = []
        for each in found:
            names = each.model.aliases if each.model else []
            rows.append(
                [each.name, each.origin, each.state_label, each.kind or "-", gb(each.size) if each.size else "-",
                 ", ".join(each.served) or "-", ", ".join(map(str, names)) or "-"]
            )  # fmt: skip
        print_table(self.stdout, HEADERS, rows)

    def inspect(self, *, model: str, revision: str, tokens: int, **options: Any) -> None:
        if not 1 <= tokens <= 100_000_000:
            raise CommandError("--tokens must be a whole number from 1 to 100000000.")
        source, known = library.named(model, revision)
        with Hub(
            timeout=settings.DOWNLOAD_TIMEOUT_SECONDS, retries=settings.DOWNLOAD_RETRIES, offline=settings.OFFLINE
        ) as hub:
            found = inspect_source(
                source, hub, options=known.engine_options if known else {}, tokens=tokens,
                commit=known.commit if known else "",
            )  # fmt: skip
        if options["json"] or options["json_too"]:
            self.stdout.write(json.dumps(found.stored(), indent=2))
            return
        print_table(self.stdout, ("", printable(found.name)), lines(found))

    def add(self, *, model: str, revision: str, alias: list[str], **options: Any) -> None:
        source, known = library.named(model, revision)
        added = library.do_add_model(source, acting_user=None)
        if alias:
            added = library.do_change_model(added, acting_user=None, aliases=[*added.aliases, *alias])
        self.stdout.write(f"{added} is known{' already' if known else ''}.")

    def remove(self, *, model: str, files: bool, **options: Any) -> None:
        found = self.known(model)
        freed = library.do_remove_model(found, acting_user=None, with_files=files)
        self.stdout.write(f"{found} is forgotten{f', and {gb(freed)} are free' if files else ''}.")

    def known(self, name: str) -> Model:
        found = library.find(name)
        if found is None:
            raise CommandError(f"There is no model {name!r}; `atelier models` lists them.")
        return found
