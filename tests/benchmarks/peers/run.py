"""Who is measured when: servers in turns within each round, one at a time, restarted after whatever goes wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers import ROOT, bare, engine_loop
from tests.benchmarks.peers.client import Stream
from tests.benchmarks.peers.environments import Environment
from tests.benchmarks.peers.figures import Bare, Result, Run, contenders, summary
from tests.benchmarks.peers.models import seeded
from tests.benchmarks.peers.prompts import Prompts
from tests.benchmarks.peers.scenarios import Invalid, Request, Scenario, Setting
from tests.benchmarks.peers.servers import OURS, Mode, Ours, Peer, Running, ServerFailed, with_openblas

BARE_PROMPT = 64
BARE_TOKENS = {"small": 64, "tiny": 256}
BARE_ROWS = {"small": (1, 16), "tiny": (1, 32)}
BARE_SECONDS = 300
WARMUP_TOKENS = 8


@dataclass(frozen=True)
class Model:
    """A model folder and what is asked of it."""

    name: str
    folder: Path
    prompts: Prompts
    seeded: bool

    @classmethod
    def made(cls, name: str) -> "Model":
        folder = seeded(name)
        return cls(name, folder, Prompts(folder), seeded=True)


class Rounds:
    """Measures and writes down; `say` gets a line for the terminal at every step."""

    def __init__(
        self, run: Run, file: Path, *, modes: list[Mode], ours: bool, seconds: float, quick: bool,
        say: Callable[[str], None],
    ):  # fmt: skip
        """seconds: how long one load may take before it counts as not answered."""
        self._run = run
        self._file = file
        self._modes: list[Mode | None] = [*modes, *([None] if ours else [])]
        self._seconds = seconds
        self._quick = quick
        self._say = say

    def measure(
        self,
        models: list[Model],
        scenarios: list[Scenario],
        rounds: int,
        *,
        first: int = 0,
        only_contenders: bool = False,
    ) -> None:
        """first: of these rounds; those before it were measured already. only_contenders: from the second round on,
        the other modes of the peers are left out."""
        for number in range(first, rounds):
            close = contenders(self._run, scenarios) if only_contenders and number else None
            modes = [mode for mode in self._modes if mode is None or close is None or mode.name in close]
            turn = number * len(modes) // rounds
            for model in models:
                wanted = [scenario for scenario in scenarios if scenario.model == model.name]
                wanted.sort(key=lambda scenario: scenario.goes_last)
                for mode in modes[turn:] + modes[:turn]:
                    self._serve(mode, model, wanted, number)
                    self._run.save(self._file)
                if wanted:
                    self._libraries(model, number)
                    self._run.save(self._file)

    def _serve(self, mode: Mode | None, model: Model, wanted: list[Scenario], number: int) -> None:
        """All of the scenarios on one server, and the bare loop if it is ours. Each error ends the server's life."""
        left = [scenario for scenario in wanted if mode is None or not mode.only or scenario.kind in mode.only]
        name = OURS if mode is None else mode.name
        asked = bool(left)
        while left:
            running: Running = Ours(model.folder) if mode is None else Peer(mode, model.folder, offline=model.seeded)
            try:
                with running:
                    self._warm_up(running, model, number)
                    while left:
                        result = self._one(running, model, left[0], name, number)
                        left.pop(0)
                        if result.error:
                            break
                    else:
                        if isinstance(running, Ours) and asked:
                            self._our_loop(running, model, number)
            except (ServerFailed, Invalid) as error:
                # It would not start, or not answer at all: the next scenario gets a new one.
                if left:
                    self._note(Result(left.pop(0).name, name, number, error=f"no server: {clean(error)}"))

    def _warm_up(self, running: Running, model: Model, number: int) -> None:
        """One request, which shows besides that the server answers. Raises Invalid."""
        messages = model.prompts.user(BARE_PROMPT, f"warm up {number}")
        [stream] = self._ask(running, [{"messages": messages, "max_tokens": WARMUP_TOKENS}])
        if stream.error:
            raise Invalid(f"the first request failed: {stream.error}")

    def _one(self, running: Running, model: Model, scenario: Scenario, name: str, number: int) -> Result:
        result = Result(scenario.name, name, number)

        def ask(requests: list[Request], *, in_flight: int, probe: Request | None = None) -> list[Stream]:
            streams = self._ask(running, requests, in_flight, probe)
            result.streams += [summary(stream) for stream in streams]
            return streams

        setting = Setting(ask, model.prompts, f"{scenario.name} {number}", model.seeded)
        try:
            result.figures = scenario.measure(setting)
            running.check()
        except (Invalid, ServerFailed) as error:
            result.figures, result.error = {}, clean(error)
        self._note(result)
        return result

    def _ask(
        self, running: Running, requests: list[Request], in_flight: int = 1, probe: Request | None = None
    ) -> list[Stream]:
        """Raises Invalid when the client itself fails."""
        plan = {
            "port": running.port, "key": running.key, "model": running.model, "in_flight": in_flight,
            "seconds": self._seconds, "requests": requests, "probes": [probe] if probe else [],
        }  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.peers.client"],
                input=json.dumps(plan), capture_output=True, text=True, cwd=ROOT,
                timeout=self._seconds + 60, check=True,
            )  # fmt: skip
        except subprocess.SubprocessError as error:
            raise Invalid(f"the client failed: {error} {getattr(error, 'stderr', '') or ''}"[-500:]) from error
        return [Stream(**each) for each in json.loads(done.stdout)]

    def _note(self, result: Result) -> None:
        self._run.results.append(result)
        told = result.error or ", ".join(f"{figure:,.3g}" for figure in result.figures.values())
        self._say(f"round {result.round + 1}  {result.scenario:18}  {result.server:40}  {told}")

    # --- bare loops -------------------------------------------------------------------------------------------------

    def _libraries(self, model: Model, number: int) -> None:
        """Every library's own loop, in its environment. vllm-mlx has none of its own: it drives an older mlx-lm's."""
        packages = dict.fromkeys(mode.package for mode in self._modes if mode is not None)
        for package in packages:
            for rows in self._rows(model):
                bare_loop = Bare(package, model.name, rows, number)
                library = "mlx_vlm" if package == "mlx-vlm" else "mlx_lm"
                try:
                    done = subprocess.run(
                        [
                            str(Environment(package).python), str(Path(bare.__file__).resolve()), library,
                            str(model.folder), str(rows), str(self._bare_tokens(model)),
                        ],
                        input=json.dumps(bare_prompts(model, rows, number)), env=with_openblas(environment()),
                        capture_output=True, text=True, timeout=BARE_SECONDS, check=True,
                    )  # fmt: skip
                    bare_loop.rate = json.loads(done.stdout.strip().splitlines()[-1])["rate"]
                except (subprocess.SubprocessError, ValueError, IndexError) as error:
                    bare_loop.error = clean(getattr(error, "stderr", "") or error)
                self._note_bare(bare_loop)

    def _our_loop(self, running: Ours, model: Model, number: int) -> None:
        for rows in self._rows(model):
            bare_loop = Bare(OURS, model.name, rows, number)
            try:
                prompts = bare_prompts(model, rows, number)
                bare_loop.rate = engine_loop.decode_rate(running.server, prompts, self._bare_tokens(model))
            except (engine_loop.LoopFailed, RuntimeError, subprocess.SubprocessError) as error:
                bare_loop.error = clean(error)
            self._note_bare(bare_loop)

    def _rows(self, model: Model) -> tuple[int, ...]:
        return BARE_ROWS.get(model.name, BARE_ROWS["small"])

    def _bare_tokens(self, model: Model) -> int:
        tokens = BARE_TOKENS.get(model.name, BARE_TOKENS["small"])
        return tokens // 4 if self._quick else tokens

    def _note_bare(self, bare_loop: Bare) -> None:
        self._run.bare.append(bare_loop)
        told = bare_loop.error or f"{bare_loop.rate:,.3g}"
        name = f"{bare_loop.model}, {bare_loop.rows} rows"
        self._say(f"round {bare_loop.round + 1}  {name:18}  {bare_loop.library + ' bare loop':40}  {told}")


def bare_prompts(model: Model, rows: int, number: int) -> list[list[int]]:
    return [model.prompts.ids(BARE_PROMPT, f"bare {number} {row}") for row in range(rows)]


def environment() -> dict[str, str]:
    return dict(os.environ) | {"TOKENIZERS_PARALLELISM": "false"}


def clean(error: object) -> str:
    """An error in one line, without this machine's paths."""
    return " ".join(str(error).replace(f"{ROOT}/", "").split())[-300:]
