"""Runs one gateway process; `serve` starts it, together with all that it needs."""

import ipaddress
import logging
import socket
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway import presence
from gateway.runtime import LONGEST_NAME
from inference.process import watch_parent

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Run one gateway process: the HTTP API and the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HOST, help="the address to listen on (ATELIER_HOST)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="the port to listen on (ATELIER_PORT)")
        parser.add_argument(
            "--name",
            default="",
            help="who it is in the ledger: the same after a restart, and no other's (default: host name and port)",
        )

    def handle(self, *args: Any, host: str, port: int, name: str, **options: Any) -> None:
        # Importing Daphne installs Twisted's reactor: only a process that serves may do so.
        from atelier.asgi import application
        from gateway.server import GatewayServer

        if not is_loopback(host):
            logger.warning(
                "%s is reachable from other machines, and there is no TLS in front unless you put it there: "
                "API keys would travel in the clear. See ATELIER_BEHIND_TLS and ATELIER_ALLOWED_HOSTS.",
                host,
            )
        watch_parent()
        name = name or f"{socket.gethostname()}:{port}"
        name = name[-LONGEST_NAME:]
        server = GatewayServer(application, host=host, port=port, name=name)
        try:
            with presence.present(name):
                if not settings.REDIS_URL and len(presence.names()) > 1:
                    logger.warning(
                        "Another gateway runs on this data folder, and there is no Redis: each counts limits by "
                        "itself. Set ATELIER_REDIS_URL for all of them."
                    )
                server.run()
        except presence.NameTaken as error:
            raise CommandError(str(error)) from None
        if server.failure is not None:
            raise CommandError(
                f"The gateway can't listen on {host} port {port}: {server.failure} "
                "Choose another with --port or ATELIER_PORT, or --host and ATELIER_HOST."
            )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
