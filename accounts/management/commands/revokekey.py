from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from accounts import keys
from accounts.management.base import AccountCommand
from accounts.models import ApiKey
from accounts.services import do_revoke_key
from accounts.terminal import printable


class Command(AccountCommand):
    help = "Revokes an API key; it stops working at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", metavar="PREFIX", help="how the key begins, as listkeys shows it; or the whole key")

    def handle(self, *args: Any, key: str, **options: Any) -> None:
        found = self.find(key)
        if not do_revoke_key(found, acting_user=None):
            raise CommandError(f"PREFIX: {found} was revoked by someone else just now.")
        self.stdout.write(f"Revoked {found} of {found.user.username}.")

    def find(self, text: str) -> ApiKey:
        """Never puts more of `text` into a message than its visible prefix: it may be a whole key."""
        name = printable(keys.visible_prefix(text))
        if len(text) > keys.VISIBLE_LENGTH:
            if not keys.is_well_formed(text):
                raise CommandError(
                    f"PREFIX: what begins with {name} is longer than a prefix and not a whole key; mind a typo. "
                    "Give the prefix as listkeys shows it, or the key exactly."
                )
            candidates = ApiKey.objects.filter(digest=keys.digest(text))
        else:
            candidates = ApiKey.objects.filter(prefix=text)
        matches = list(candidates.unrevoked().select_related("user").order_by("pk"))
        if len(matches) == 1:
            return matches[0]
        if matches:
            lines = "".join(f"\n  {key} of {key.user.username}, {printable(key.note) or '-'}" for key in matches)
            raise CommandError(f"PREFIX: {len(matches)} keys begin with {name}; give the whole key.{lines}")
        if candidates.exists():
            raise CommandError(f"PREFIX: {name}… is revoked already.")
        raise CommandError(f"PREFIX: no key begins with {name}; see `atelier listkeys`.")
