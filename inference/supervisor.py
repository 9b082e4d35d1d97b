"""Keeps this host's engines as its deployments want them: started, watched, restarted, killed when wedged."""

import asyncio
import ctypes.util
import logging
import os
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.db.models import Exists, OuterRef

from accounts.events import subscribe
from inference.client import EngineClient, EngineUnavailable
from inference.engine import options
from inference.engine.protocol import LOAD_FAILED, Stats
from inference.models import Deployment, Download, Engine
from inference.process import Child, Exit
from inference.services import ENGINES_CHANGED, do_record_engine, endpoint_of
from inference.sources import SourceError, load_path

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
STOP_GRACE_SECONDS = 5.0
SILENCE_SECONDS = 10.0
"""An engine that was ready and sends no heartbeat for this long is wedged as a whole."""


@dataclass(slots=True)
class Watch:
    """When an engine last showed that it gets on with its work."""

    stall_seconds: float
    steps: int = -1
    working: bool = False
    moved_at: float = field(default_factory=monotonic)
    heard_at: float = field(default_factory=monotonic)

    def observe(self, stats: Stats | None, now: float) -> str | None:
        """Why the engine counts as wedged now, or None. `stats` is the newest heartbeat, each one seen once."""
        if stats is not None:
            self.heard_at = now
            self.working = stats.running + stats.waiting > 0
            if stats.steps != self.steps or not self.working:
                self.steps, self.moved_at = stats.steps, now
        if now - self.heard_at > max(SILENCE_SECONDS, self.stall_seconds):
            return f"no heartbeat for {now - self.heard_at:.0f} s"
        if self.working and now - self.moved_at > self.stall_seconds:
            return f"work is waiting, but no step has ended for {now - self.moved_at:.0f} s"
        return None


class EngineKeeper:
    """One deployment's engine process, or the reason why there can be none with the options that it has."""

    def __init__(self, deployment: Deployment, client: EngineClient):
        self.deployment = deployment
        self.wanted = wanted_of(deployment)
        """As stored when it was started, and what it runs with whatever is stored meanwhile."""
        self.endpoint = endpoint_of(deployment)
        self.ready = asyncio.Event()
        self.decided = asyncio.Event()
        """Set as soon as it has been ready once, or has failed once."""
        self.failure: str | None = None
        """Why it is not there, in its own last words; None while it starts and serves."""
        self._client = client
        self._restarts = -1
        argv: list[str] = []
        self.refusal: str | None = None
        """Why it can't be started with what is stored; it is tried again when that changes."""
        self._comes = False
        """Only its files are not here yet."""
        try:
            argv = engine_argv(deployment, self.endpoint)
        except options.OptionError as error:
            self.refusal = f"{error} This is stored for {deployment.model}: give serve the options that you want."
        except SourceError as error:
            self._comes = self.wanted.comes
            self.refusal = "It is being downloaded: see `atelier models`." if self._comes else str(error)
        self.child = Child(
            name=f"engine {deployment.model.name}",
            argv=argv,
            env=engine_environment(),
            on_start=self._started,
            on_exit=self._exited,
            hopeless={LOAD_FAILED, options.OPTIONS_REFUSED},
        )
        work = [self.child.run(), self._watch()] if self.refusal is None else [self._refuse(self.refusal)]
        self._tasks = [asyncio.create_task(coroutine) for coroutine in work]

    async def stop(self) -> None:
        await self.child.stop(grace=STOP_GRACE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.forget(self.endpoint)

    async def _refuse(self, reason: str) -> None:
        log.log(logging.INFO if self._comes else logging.ERROR, "%s is not started: %s", self.child.name, reason)
        self.failure = reason
        # Whoever asks for one that comes is told to come back.
        state = Engine.State.STARTING if self._comes else Engine.State.FAILED
        await self._record(state=state, pid=None, last_error=reason)
        self.decided.set()

    async def _started(self, pid: int) -> None:
        self._restarts += 1
        await self._record(state=Engine.State.STARTING, pid=pid, restarts=self._restarts)

    async def _exited(self, ended: Exit) -> None:
        was_ready = self.ready.is_set()
        self.ready.clear()
        self.failure = str(ended)
        self.decided.set()
        stopped = self.child.stopping
        state = Engine.State.STOPPED if stopped else Engine.State.STARTING if was_ready else Engine.State.FAILED
        await self._record(state=state, pid=None, last_error="" if stopped else str(ended))

    async def _watch(self) -> None:
        while True:
            try:
                ready = await self._client.wait_ready(self.endpoint, WATCH_SECONDS)
            except EngineUnavailable:
                continue
            if ready.pid != self.child.pid:
                # The answer of a process that has just gone; its successor's will follow.
                await asyncio.sleep(WATCH_SECONDS / 10)
                continue
            await self._record(
                state=Engine.State.READY,
                pid=ready.pid,
                context_length=ready.context_length,
                kind=ready.kind,
                modalities=ready.modalities,
                batching=ready.batching,
                batching_reason=ready.batching_reason,
            )
            self.failure = None
            self.ready.set()
            self.decided.set()
            await self._watch_steps(ready.pid)

    async def _watch_steps(self, pid: int) -> None:
        """Returns when this engine process is gone, killed or not. A connection that breaks is silence, too."""
        watch = Watch(settings.ENGINE_STALL_SECONDS)
        seen: Stats | None = None
        while self.child.pid == pid:
            await asyncio.sleep(WATCH_SECONDS)
            stats = self._client.stats(self.endpoint)
            wedged = watch.observe(stats if stats is not seen else None, monotonic())
            seen = stats
            if wedged and self.child.pid == pid:
                log.error("%s is wedged (%s) and is killed", self.child.name, wedged)
                self.child.kill()
                return

    async def _record(self, **observed: object) -> None:
        await database_sync_to_async(do_record_engine)(self.deployment, **observed)


class EngineSupervisor:
    """All engines of one host."""

    def __init__(self, host: str):
        self.host = host
        self._client = EngineClient(f"supervisor-{host}-{os.getpid()}")
        self._keepers: dict[int, EngineKeeper] = {}

    async def run(self) -> None:
        """Reconciles now and whenever the wishes change; until it is cancelled."""
        await self.reconcile()
        async for _ in subscribe(ENGINES_CHANGED):
            await self.reconcile()

    async def reconcile(self) -> None:
        wanted = {deployment.pk: deployment for deployment in await database_sync_to_async(self._deployments)()}
        for pk, keeper in list(self._keepers.items()):
            if pk not in wanted or (keeper.refusal and wanted_of(wanted[pk]) != keeper.wanted):
                await self._keepers.pop(pk).stop()
        for pk in wanted.keys() - self._keepers.keys():
            self._keepers[pk] = EngineKeeper(wanted[pk], self._client)

    async def wait_decided(self) -> dict[str, str | None]:
        """Waits until every engine has been ready or has failed once. By model: None, or what went wrong."""
        while not self._keepers:
            await asyncio.sleep(0.05)
        keepers = list(self._keepers.values())
        await asyncio.gather(*(keeper.decided.wait() for keeper in keepers))
        return {keeper.deployment.model.name: keeper.failure for keeper in keepers}

    async def stop(self) -> None:
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers.values()))
        self._keepers.clear()
        await self._client.close()

    def _deployments(self) -> list[Deployment]:
        comes = Exists(Download.objects.unfinished().filter(model=OuterRef("model")))
        return list(Deployment.objects.filter(host=self.host).select_related("model").annotate(comes=comes))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may change about a deployment that could not be started."""

    options: dict[str, Any]
    commit: str
    comes: bool
    """Its model is just being downloaded."""


def wanted_of(deployment: Deployment) -> Wanted:
    """Of a deployment as the supervisor reads it."""
    model = deployment.model
    return Wanted(model.engine_options, model.commit, getattr(deployment, "comes", False))


def engine_argv(deployment: Deployment, endpoint: str) -> list[str]:
    """The command line of a deployment's engine. Raises OptionError for stored options that make no sense, SourceError
    where its files are not all here."""
    model = deployment.model
    return [
        sys.executable, "-m", "inference.engine",
        "--model", load_path(model.source, model.commit), "--name", model.name, "--endpoint", endpoint,
        *(["--kind", model.kind] if model.kind else []),
        *options.argv(options.make(model.engine_options)),
    ]  # fmt: skip


def engine_environment() -> dict[str, str]:
    """The environment of an engine process.

    MLX's Linux wheel brings the reference BLAS, fifty times slower than OpenBLAS, which takes its place when it is
    loaded first.
    """
    env = dict(os.environ)
    if sys.platform == "linux":
        if library := ctypes.util.find_library("openblas"):
            env["LD_PRELOAD"] = " ".join(filter(None, [library, env.get("LD_PRELOAD")]))
        else:
            log.warning("OpenBLAS is missing: on the CPU models run up to 50 times slower. See docs/install.md.")
    # Models are downloaded by us, whole and compared with their hashes, before an engine hears of them.
    env["HF_HUB_OFFLINE"] = "1"
    # Models are downloaded by us, whole and compared with their hashes, before an engine hears of them.
    env["HF_HUB_OFFLINE"] = "1"
    # Tokenizers are called from one thread, and forking is not what we do.
    env["TOKENIZERS_PARALLELISM"] = "false"
    return env
