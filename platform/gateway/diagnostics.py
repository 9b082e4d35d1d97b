"""`GET /health/diagnostics`: how the installation and its default model are, or the model that `?model=` names.

The answer is a report, and 200 whatever it says: `/health/ready` is for those who look at the status alone.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Iterable
from typing import Literal

from django.conf import settings
from django.db import connection
from msgspec import Struct

from gateway import runtime
from gateway.answers import encode
from gateway.capabilities import chosen_model
from gateway.endpoint import KeyedEndpoint
from gateway.engine_facts import Memory, memory_of
from inference.client import EngineUnavailable, Heartbeat
from inference.engine.protocol import Ready, Stats
from inference.registry import ServedModel

PATIENCE_SECONDS = 1.5
"""Covers connecting to an engine that nothing was asked of yet, and the half second between two heartbeats."""
LATE_SECONDS, SILENT_SECONDS = 3.0, 10.0
"""Age of a heartbeat; one comes every half second."""
WORKER_SECONDS = 3.0
"""What the worker gets to answer; over a folder it looks for questions once a second."""
WORKER_FRESH_SECONDS = 10.0
"""Between two questions to it."""
DATABASE_SECONDS = 1.0
"""A database that needs longer for the smallest of queries slows every request down."""
SCARCE_BYTES, LITTLE_BYTES = 256 << 20, 2 << 30
"""Free on the data folder's disk: too little to count on the next write, and little."""
MANY_LOOPS, MANY_LOOPS_SHARE = 5, 0.1
"""Answers that went round in circles, and of all requests."""

Status = Literal["pass", "warning", "fail", "unknown"]
Verdict = Literal["healthy", "degraded", "unhealthy"]


class Check(Struct):
    status: Status
    detail: str


class DiagnosticsReport(Struct, kw_only=True):
    status: Verdict
    """"unhealthy" if any check fails, else "degraded" if any warns."""
    model: str | None
    checks: dict[str, Check]
    memory: Memory
    """The engine's."""
    timestamp: float
    """Unix seconds."""


class Diagnostics(KeyedEndpoint):
    async def handle(self, body: bytes) -> None:
        gateway = runtime.current()
        model = await chosen_model(self.scope["query_string"], gateway, self.principal)
        await self.answer(encode(await report(gateway, model)))


async def report(gateway: "runtime.Runtime", model: ServedModel | None) -> DiagnosticsReport:
    (ready, heartbeat), database, worker = await asyncio.gather(
        heard(gateway, model), attempt(check_database(gateway)), attempt(check_worker())
    )
    stats = heartbeat.stats if heartbeat else None
    checks = {
        "engine": check_engine(model, ready, heartbeat),
        **{name: check(stats) if stats else Check("unknown", "No heartbeat.") for name, check in OF_ENGINE.items()},
        "database": database,
        "disk": await attempt(asyncio.to_thread(check_disk)),
        "worker": worker,
        "maintenance": await attempt(check_maintenance(gateway)),
    }
    return DiagnosticsReport(
        status=verdict(checks.values()),
        model=model.name if model else None,
        checks=checks,
        memory=memory_of(stats),
        timestamp=round(time.time(), 3),
    )


def verdict(checks: Iterable[Check]) -> Verdict:
    found = {check.status for check in checks}
    return "unhealthy" if "fail" in found else "degraded" if "warning" in found else "healthy"


async def heard(gateway: "runtime.Runtime", model: ServedModel | None) -> tuple[Ready | None, Heartbeat | None]:
    if model is None:
        return None, None
    try:
        ready = await gateway.engines.wait_ready(model.endpoint, PATIENCE_SECONDS)
    except EngineUnavailable:
        return None, None
    return ready, await gateway.engines.heartbeat(model.endpoint, PATIENCE_SECONDS)


async def attempt(check: Awaitable[Check]) -> Check:
    """What fails unforeseen is a failed check, and says no more than its kind: it might quote what is secret."""
    try:
        return await check
    except Exception as error:
        return Check("fail", f"{type(error).__name__}.")


# --- the engine --------------------------------------------------------------------------------------------------


def check_engine(model: ServedModel | None, ready: Ready | None, heartbeat: Heartbeat | None) -> Check:
    if model is None:
        return Check("fail", "No model is served.")
    if ready is None:
        return Check(
            "warning" if model.state == "starting" else "fail", f"It does not answer; its state is {model.state}."
        )
    if heartbeat is None:
        return Check("warning", "It answers, but has sent no heartbeat yet.")
    age = heartbeat.seconds_ago
    status: Status = "pass" if age < LATE_SECONDS else "warning" if age < SILENT_SECONDS else "fail"
    how = ready.batching if not ready.batching_reason else f"{ready.batching}: {ready.batching_reason}"
    stats = heartbeat.stats
    return Check(
        status,
        f"Heartbeat {age:.1f} s ago; {stats.running} running, {stats.waiting} waiting, {stats.requests} so far; {how}.",
    )


def check_memory(stats: Stats) -> Check:
    said = stats.memory
    state = said.get("state", "unknown")
    statuses: dict[str, Status] = {"ok": "pass", "warn": "warning", "limit": "fail"}
    if state not in statuses:
        return Check("unknown", "Nothing was read yet.")
    detail = f"{said['percent']:.0f} % in use, {said['trend']}."
    if said["refusing"]:
        detail += " New requests are refused."
    if said["context_share"] < 1:
        detail += f" New requests get {said['context_share']:.0%} of the context."
    return Check(statuses[state], detail)


def check_batch_invariance(stats: Stats) -> Check:
    said = stats.divergence
    if not said.get("enabled"):
        return Check("unknown", "Nobody looks: --batch-divergence-monitor is off.")
    if said["agreement"] is None:
        return Check("unknown", "No probe was run yet.")
    detail = f"{said['agreement']:.1%} of {said['probes']} probes' last tokens agree, {said['threshold']:.0%} should."
    if said["serialized"]:
        detail += " Requests run one at a time until they do."
    return Check("warning" if said["diverging"] else "pass", detail)


def check_repetition(stats: Stats) -> Check:
    said = stats.repetition
    if said.get("policy", "off") == "off":
        return Check("unknown", "Nobody looks: --repetition-policy is off.")
    loops = sum(said["stopped"].values())
    many = loops >= MANY_LOOPS and loops > MANY_LOOPS_SHARE * stats.requests
    return Check(
        "warning" if many else "pass",
        f"{loops} of {stats.requests} requests' answers went round in circles ({said['policy']}).",
    )


def check_prefix_cache(stats: Stats) -> Check:
    said = stats.cache
    total = said.get("blocks_total", 0)
    if not total:
        return Check("pass", "Off.")
    asked, saved = said["tokens_asked"], said["tokens_saved"]
    detail = f"{said['blocks_used']} of {total} blocks in use"
    detail += f", {saved / asked:.0%} of {asked} prompt tokens taken from it." if asked else ", nothing looked up yet."
    if said["abandoned"]:
        return Check("warning", f"{detail} {said['abandoned']} blocks could not be copied.")
    return Check("pass", detail)


def check_ssd_tier(stats: Stats) -> Check:
    said = stats.tier
    if not said:
        return Check("pass", "Off.")
    detail = f"{said['entries']} files, {said['bytes'] / 1e9:.2f} GB, {said['hits']} hits."
    faults = {name: said[name] for name in ("errors", "corrupt", "missing") if said[name]}
    if not said["writing"]:
        return Check("fail", f"{detail} Nothing is written any more: see the engine's log.")
    if faults:
        return Check("warning", f"{detail} Of its files: {', '.join(f'{name} {n}' for name, n in faults.items())}.")
    return Check("pass", detail)


def check_pictures(stats: Stats) -> Check:
    said = stats.pictures
    if not said:
        return Check("pass", "It sees none.")
    return Check(
        "pass",
        f"{said['encoded']} went through the encoder, of {said['remembered']} the features were known; "
        f"{said['bytes'] / 1e6:.1f} MB of them are kept.",
    )


OF_ENGINE = {
    "memory": check_memory,
    "batch_invariance": check_batch_invariance,
    "repetition_policy": check_repetition,
    "prefix_cache": check_prefix_cache,
    "ssd_tier": check_ssd_tier,
    "pictures": check_pictures,
}


# --- the installation --------------------------------------------------------------------------------------------


async def check_database(gateway: "runtime.Runtime") -> Check:
    began = time.perf_counter()
    await gateway.database.run(_query)
    seconds = time.perf_counter() - began
    return Check(
        "pass" if seconds < DATABASE_SECONDS else "warning", f"{connection.vendor} answers in {1000 * seconds:.0f} ms."
    )


def _query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.fetchone()


async def check_maintenance(gateway: "runtime.Runtime") -> Check:
    maintenance = await gateway.maintenance.current()
    if maintenance is None:
        return Check("pass", "Off.")
    whom = "of all but administrators are" if maintenance.lets_admins_in else "are"
    return Check("warning", f"New requests {whom} refused. {maintenance.sentence()}")


def check_disk() -> Check:
    usage = shutil.disk_usage(settings.DATA_DIR)
    status: Status = "fail" if usage.free < SCARCE_BYTES else "warning" if usage.free < LITTLE_BYTES else "pass"
    return Check(status, f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free where the data folder is.")


async def check_worker() -> Check:
    global _worker_heard_at
    if time.monotonic() - _worker_heard_at > WORKER_FRESH_SECONDS:
        if not await asyncio.to_thread(_ping_worker):
            return Check("warning", "It does not answer: what it does by timetable and in the background waits.")
        _worker_heard_at = time.monotonic()
    return Check("pass", f"It answered {time.monotonic() - _worker_heard_at:.1f} s ago.")


def _ping_worker() -> bool:
    from atelier.celery import app  # takes a tenth of a second, of those who ask only

    return bool(app.control.ping(timeout=WORKER_SECONDS, limit=1))


_worker_heard_at = float("-inf")
