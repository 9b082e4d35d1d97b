from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction

from accounts.management.base import AccountCommand, refusal
from accounts.models import Team
from accounts.own_teams import do_create_own_team
from accounts.passwords import readable_password
from accounts.service_accounts import do_create_service_account
from accounts.services import do_add_member, do_create_team, do_create_user
from accounts.terminal import print_secret


class Command(AccountCommand):
    help = "Creates a user and prints its password, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", metavar="NAME")
        parser.add_argument(
            "--team", metavar="T", help="the team to join, made if missing; one of its own, if left out"
        )
        parser.add_argument("--admin", action="store_true", help="may sign in to the admin and do everything there")
        parser.add_argument("--email", metavar="E", default="")
        parser.add_argument(
            "--service", action="store_true", help="a program of the team's, NAME@TEAM: it has keys, and no password"
        )

    @transaction.atomic
    def handle(
        self, *args: Any, username: str, team: str | None, admin: bool, email: str, service: bool, **options: Any
    ) -> None:
        if service:
            self.create_service_account(username, team, admin=admin, email=email)
            return
        password = readable_password()
        try:
            user = do_create_user(username, password=password, email=email, is_admin=admin, acting_user=None)
        except ValidationError as error:
            raise refusal(error, {"username": "NAME", "email": "--email"}) from error
        if team is not None:
            try:
                joined = Team.objects.filter(name=team).first() or do_create_team(team, acting_user=None)
            except ValidationError as error:
                raise refusal(error, {"name": "--team"}) from error
            do_add_member(joined, user, acting_user=None)
        else:
            joined = do_create_own_team(user, acting_user=None)
        self.stdout.write(f"Created {'admin' if admin else 'user'} {username} in team {joined}.")
        print_secret(self.stdout, "Password (shown only now)", password)

    def create_service_account(self, name: str, team: str | None, *, admin: bool, email: str) -> None:
        if admin or email:
            raise CommandError("--service: a service account is no admin and has no --email.")
        if (owner := self.team_named(team)) is None:
            raise CommandError("--service needs --team T: whose it is.")
        try:
            account = do_create_service_account(owner, name, acting_user=None)
        except ValidationError as error:
            raise refusal(error, {"name": "NAME"}) from error
        self.stdout.write(f"Created service account {account.username} of team {owner}.")
