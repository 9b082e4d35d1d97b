import asyncio
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

import atelier
import inference
from accounts.first_run import FirstRun, do_create_first_admin
from atelier import env
from atelier.supervision import LOOPBACK, Platform
from inference import library
from inference.downloads import do_request_download
from inference.engine.options import EngineOptions, OptionError, add_arguments, argv, given, make
from inference.models import Deployment
from inference.registry import own_timeout
from inference.services import do_deploy_models, do_set_engine_options
from inference.sources import DEFAULT_MODEL, Source, SourceError, parse_source

STRICT = {
    "strict_model_id": ("ATELIER_STRICT_MODEL_ID", "requests call a model by its own name only"),
    "strict_parameters": ("ATELIER_STRICT_PARAMETERS", "a parameter without effect is an error"),
}
"""Flags for settings of the gateway: variable and meaning."""

MOST_GATEWAYS = 64
PURPOSES = {
    "embedding": "/v1/embeddings",
    "reranker": "/v1/rerank",
    "transcription": "/v1/audio/transcriptions",
    "speech": "/v1/audio/speech",
}
"""Kinds of models that can be told from others only by who knows them: what each is for."""


class Command(BaseCommand):
    help = "Serves models: gateway, engines and worker, kept alive until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "models", nargs="*", metavar="MODEL", help="a folder, a Hugging Face id or a built-in model's name"
        )
        for kind, purpose in PURPOSES.items():
            parser.add_argument(
                f"--{kind}-model",
                action="append", default=[], metavar="MODEL",
                help=f"one more model, for {purpose}, whatever its files say; may be given several times",
            )  # fmt: skip
        parser.add_argument("--host", default=settings.HOST, help="address to listen on (default %(default)s)")
        parser.add_argument("--localhost", action="store_true", help=f"the same as --host {LOOPBACK}")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (default %(default)s)")
        parser.add_argument(
            "--gateways",
            type=int, default=settings.GATEWAYS, metavar="N",
            help="gateway processes, each on a port of its own from --port on; more than one need Redis "
            "(ATELIER_GATEWAYS, default %(default)s)",
        )  # fmt: skip
        for name, (variable, meaning) in STRICT.items():
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=f"{meaning} ({variable})")
        parser.add_argument(
            "--media-dir", metavar="DIR", help="requests may name files under this folder (ATELIER_MEDIA_DIR)"
        )
        parser.add_argument(
            "--allow-media-host",
            action="append", default=[], metavar="HOST[:PORT]",
            help="pictures, videos and sounds may be fetched from this host of a private network; may be given several "
            "times (ATELIER_ALLOW_MEDIA_HOSTS)",
        )  # fmt: skip
        parser.add_argument(
            "--offline", action="store_true", help="serve what is here; nothing is downloaded (ATELIER_OFFLINE)"
        )
        parser.add_argument(
            "--download-timeout",
            type=float, metavar="SECONDS", help="without a byte of a download (ATELIER_DOWNLOAD_TIMEOUT)",
        )  # fmt: skip
        parser.add_argument(
            "--download-retries",
            type=int, metavar="N", help="attempts more that may fail in a row (ATELIER_DOWNLOAD_RETRIES)",
        )  # fmt: skip
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        host = LOOPBACK if options["localhost"] else options["host"]
        ports = ports_of(options["port"], options["gateways"])
        try:
            sources = [parse_source(name) for name in options["models"] or [DEFAULT_MODEL]]
            sources += [
                replace(parse_source(name), kind=kind) for kind in PURPOSES for name in options[f"{kind}_model"]
            ]
            chosen = given(options)
            engine_options = make(chosen) if chosen else None
        except (SourceError, OptionError) as error:
            raise CommandError(str(error)) from error
        for port in ports:
            check_port(host, port)
        share_import_path()
        # Settings of the children, which read them as we did.
        os.environ.update({variable: "yes" for name, (variable, _) in STRICT.items() if options[name]})
        share_media_settings(options["media_dir"], options["allow_media_host"])
        share_download_settings(options["offline"], options["download_timeout"], options["download_retries"])
        with only_one():
            self.serve(sources, host, ports, engine_options)

    def serve(self, sources: list[Source], host: str, ports: range, engine_options: EngineOptions | None) -> None:
        """engine_options: what the models are to have from now on, None to keep what they have."""
        call_command("migrate", interactive=False, verbosity=0)
        first = do_create_first_admin()
        node = socket.gethostname()
        try:
            deployments = do_deploy_models(sources, host=node)
            get_models(deployments)
        except ValueError as error:
            raise CommandError(str(error)) from error
        options = [line for deployment in deployments if (line := settle_options(deployment, engine_options))]
        # Each thread and process makes connections of its own from here on.
        connection.close()
        if first is not None:
            self.introduce(first)
        platform = Platform(host, ports, node, longest_request=longest_request(deployments))
        asyncio.run(platform.run(lambda engines: self.greet(host, ports, engines, options)))

    def introduce(self, first: FirstRun) -> None:
        """Printed, never logged, and before anything can go wrong: password and key are shown here and nowhere else."""
        self.say(
            "Welcome to Atelier. This is shown only once:",
            f"User     {first.username}, password {first.password}",
            f"Key      {first.key}",
        )

    def greet(self, host: str, ports: range, engines: dict[str, str | None], options: list[str]) -> None:
        shown = "localhost" if host in (LOOPBACK, "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{ports[0]}"
        served = [name for name, failure in engines.items() if failure is None]
        failed = [f"Failed   {name}: {failure}" for name, failure in engines.items() if failure is not None]
        self.say(
            f"Atelier serves {', '.join(served) or 'no model yet'}",
            *failed,
            *(f"Options  {line}" for line in options),
            f"API      {url}/v1",
            *([f"Ports    {ports[0]} to {ports[-1]}, a gateway on each"] if len(ports) > 1 else []),
            f"Admin    {url}/admin/",
            f"Data     {settings.DATA_DIR}",
            "Stop     Ctrl-C",
        )

    def say(self, *lines: str) -> None:
        self.stdout.write("\n".join(["", *(f"  {line}" for line in lines), ""]))
        self.stdout.flush()


def ports_of(first: int, count: int) -> range:
    """Where so many gateways listen. Raises CommandError where there can't be so many."""
    if count < 1:
        raise CommandError(f"--gateways must be at least 1, not {count}.")
    if count > MOST_GATEWAYS:
        raise CommandError(f"--gateways can be at most {MOST_GATEWAYS}, not {count}.")
    if count > 1 and not settings.REDIS_URL:
        raise CommandError(
            f"{count} gateways need Redis, or each would count limits by itself and allow {count} times as much. "
            "Set ATELIER_REDIS_URL, or --gateways 1 (ATELIER_GATEWAYS)."
        )
    return range(first, first + count)


def settle_options(deployment: Deployment, new: EngineOptions | None) -> str:
    """Stores a model's new engine options, if there are any. In one line what it has now, where that is news or not
    the default."""
    model = deployment.model
    before = in_words(do_set_engine_options(model, new) if new is not None else model.engine_options)
    now = in_words(model.engine_options)
    if now == before:
        return f"{model}: {now}" if model.engine_options else ""
    return f"{model}: {now} (until now: {before})"


def in_words(stored: dict[str, Any]) -> str:
    """Stored engine options as the flags that they are."""
    try:
        return " ".join(argv(make(stored))) or "the defaults"
    except OptionError as error:
        return f"a mistake: {error}"


def get_models(deployments: list[Deployment]) -> None:
    """Has the worker download what is not here: nobody else waits for it. Raises CommandError offline."""
    for model in (deployment.model for deployment in deployments):
        if library.adopt(model):
            model.save(update_fields=["commit"])
            continue
        if settings.OFFLINE or os.environ.get("ATELIER_OFFLINE") == "yes":
            raise CommandError(
                f"{model} is not here, or not all of it, and --offline nothing is downloaded. Leave that out once, or "
                f"get it with `atelier download {model}`."
            )
        do_request_download(model, acting_user=None)


def longest_request(deployments: list[Deployment]) -> float:
    """Seconds that the most patient of these models gives a request."""
    own = (own_timeout(deployment.model.engine_options) or 0 for deployment in deployments)
    return max([settings.REQUEST_TIMEOUT_SECONDS, *own])


def share_import_path() -> None:
    """Children import what we import, started from a checkout or from an installed package."""
    roots = [str(Path(str(package.__file__)).parent.parent) for package in (inference, atelier)]
    path = dict.fromkeys([*roots, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))


def share_media_settings(folder: str | None, hosts: list[str]) -> None:
    """Settings of the children, in place of what the environment says. Raises CommandError."""
    if folder is not None:
        if (found := env.folder_at(folder)) is None:
            raise CommandError(f"--media-dir must be a folder that exists, not {folder!r}.")
        os.environ["ATELIER_MEDIA_DIR"] = str(found)
    try:
        for host in hosts:
            env.host_and_port(host)
    except ValueError as error:
        raise CommandError(f"--allow-media-host: {error}.") from None
    if hosts:
        os.environ["ATELIER_ALLOW_MEDIA_HOSTS"] = ",".join(hosts)


def share_download_settings(offline: bool, timeout: float | None, retries: int | None) -> None:
    """Settings of the children, in place of what the environment says. Raises CommandError."""
    if offline:
        os.environ["ATELIER_OFFLINE"] = "yes"
    if timeout is not None:
        if not 0.1 <= timeout <= 86_400:
            raise CommandError(f"--download-timeout must be seconds from 0.1 to 86400, not {timeout:g}.")
        os.environ["ATELIER_DOWNLOAD_TIMEOUT"] = str(timeout)
    if retries is not None:
        if not 0 <= retries <= 1000:
            raise CommandError(f"--download-retries must be from 0 to 1000, not {retries}.")
        os.environ["ATELIER_DOWNLOAD_RETRIES"] = str(retries)


@contextmanager
def only_one() -> Iterator[None]:
    """Holds the data folder's lock; two supervisors on one folder would steal each other's sockets.

    Raises CommandError when another one holds it.
    """
    with (settings.DATA_DIR / "serve.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(
                f"Atelier is running already with the data folder {settings.DATA_DIR}. "
                "Stop it first, or choose another folder with ATELIER_DATA_DIR."
            ) from None
        yield


def check_port(host: str, port: int) -> None:
    """Raises CommandError when nothing can listen there: better now than in a child that is restarted for ever."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(
                f"Can't listen on {host} port {port}: {reason}. "
                "Choose another with --host and --port, or ATELIER_HOST and ATELIER_PORT."
            ) from error
