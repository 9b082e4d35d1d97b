"""What `serve` keeps alive: the event hub, the engines, the gateway and the worker of one host."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from django.conf import settings

from accounts.events import Hub
from inference.process import Child
from inference.supervisor import EngineSupervisor

LOOPBACK = "127.0.0.1"
Greeting = Callable[[dict[str, str | None]], None]
WORKER_GRACE_SECONDS = 10.0


class Platform:
    """longest_request: seconds that a request may take of any model's own account, so that the worker does not give it
    up before. greet is called once, when the gateway listens and every engine is ready or has failed: see
    wait_decided."""

    def __init__(self, host: str, port: int, node: str, *, longest_request: float):
        self.engines = EngineSupervisor(node)
        self.gateway = self._child("gateway", "--host", host, "--port", str(port), "--name", f"{node[:48]}:{port}")
        self.address = (LOOPBACK if host == "0.0.0.0" else host, port)
        self.worker = self._child(
            "worker",
            ATELIER_TIMEOUT=str(longest_request),
            ATELIER_GATEWAY_URL=settings.GATEWAY_URL or url_of(*self.address),
        )
        self._stop = asyncio.Event()

    async def run(self, greet: Greeting) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        with Hub():
            tasks = [
                asyncio.create_task(run)
                for run in (self.engines.run(), self.gateway.run(), self.worker.run(), self._announce(greet))
            ]
            stop = asyncio.create_task(self._stop.wait())
            done, _ = await asyncio.wait([stop, *tasks[:3]], return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down()
            for task in [stop, *tasks]:
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
            for task in done - {stop}:
                # One of the keepers itself failed: a bug, not a child's death. It must not go unnoticed.
                task.result()

    async def _announce(self, greet: Greeting) -> None:
        engines = await self.engines.wait_decided()
        while not await self._gateway_listens():
            await asyncio.sleep(0.1)
        greet(engines)

    async def _gateway_listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self.address)
        except OSError:
            return False
        writer.close()
        return True

    async def _shut_down(self) -> None:
        """First those who take requests, so that what runs can finish, and who asks them; the engines last."""
        print("Stopping: running requests may finish. Ctrl-C again ends them.", file=sys.stderr, flush=True)
        await asyncio.gather(
            self.worker.stop(grace=WORKER_GRACE_SECONDS), self.gateway.stop(grace=settings.DRAIN_SECONDS + 5)
        )
        await self.engines.stop()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self.gateway.kill()
        self._stop.set()

    def _child(self, command: str, *arguments: str, **variables: str) -> Child:
        environment = dict(os.environ, PYTHONUNBUFFERED="1", **variables)
        return Child(command, [sys.executable, "-m", "atelier", command, *arguments], environment)


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
