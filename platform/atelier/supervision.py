"""What `serve` keeps alive: the event hub, the engines, the gateways and the worker of one host."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from django.conf import settings

from accounts.events import Hub
from inference.process import Child
from inference.supervisor import EngineSupervisor

LOOPBACK = "127.0.0.1"
Greeting = Callable[[dict[str, str | None]], None]
WORKER_GRACE_SECONDS = 10.0


class Platform:
    """ports: one gateway listens on each. longest_request: seconds that a request may take of any model's own account,
    so that the worker does not give it up before. greet is called once, when the gateways listen and every engine is
    ready or has failed: see wait_decided."""

    def __init__(self, host: str, ports: Sequence[int], node: str, *, longest_request: float):
        self.engines = EngineSupervisor(node)
        self.gateways = [self._gateway(host, port, node, alone=len(ports) == 1) for port in ports]
        self.addresses = [(LOOPBACK if host == "0.0.0.0" else host, port) for port in ports]
        self.worker = self._child(
            "worker",
            ATELIER_TIMEOUT=str(longest_request),
            ATELIER_GATEWAY_URL=settings.GATEWAY_URL or url_of(*self.addresses[0]),
        )
        self._stop = asyncio.Event()

    async def run(self, greet: Greeting) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        with Hub():
            keepers = [self.engines.run(), self.worker.run(), *(gateway.run() for gateway in self.gateways)]
            tasks = [asyncio.create_task(run) for run in (*keepers, self._announce(greet))]
            stop = asyncio.create_task(self._stop.wait())
            done, _ = await asyncio.wait([stop, *tasks[: len(keepers)]], return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down()
            for task in [stop, *tasks]:
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
            for task in done - {stop}:
                # One of the keepers itself failed: a bug, not a child's death. It must not go unnoticed.
                task.result()

    async def _announce(self, greet: Greeting) -> None:
        engines = await self.engines.wait_decided()
        for address in self.addresses:
            while not await self._listens(*address):
                await asyncio.sleep(0.1)
        greet(engines)

    async def _listens(self, host: str, port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        return True

    async def _shut_down(self) -> None:
        """First those who take requests, so that what runs can finish, and who asks them; the engines last."""
        print("Stopping: running requests may finish. Ctrl-C again ends them.", file=sys.stderr, flush=True)
        await asyncio.gather(
            self.worker.stop(grace=WORKER_GRACE_SECONDS),
            *(gateway.stop(grace=settings.DRAIN_SECONDS + 5) for gateway in self.gateways),
        )
        await self.engines.stop()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for gateway in self.gateways:
                gateway.kill()
        self._stop.set()

    def _gateway(self, host: str, port: int, node: str, *, alone: bool) -> Child:
        name = f"{node[:48]}:{port}"
        child = self._child("gateway", "--host", host, "--port", str(port), "--name", name)
        return child if alone else replace(child, name=f"gateway {port}")

    def _child(self, command: str, *arguments: str, **variables: str) -> Child:
        environment = dict(os.environ, PYTHONUNBUFFERED="1", **variables)
        return Child(command, [sys.executable, "-m", "atelier", command, *arguments], environment)


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
