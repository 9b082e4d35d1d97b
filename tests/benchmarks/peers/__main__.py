"""`make bench-peers`: every scenario against every peer and against us, medians, ratios, report and pictures.

A whole run writes docs/benchmarks.md and docs/benchmarks/; a partial or a quick one only prints. All raw figures are
kept under build/peers/ after every server, so that a run that is cut short is not lost: see --from.
"""

import argparse
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.peers import BUILD, report
from tests.benchmarks.peers.environments import PACKAGES, Environment, InstallationFailed, own_versions
from tests.benchmarks.peers.figures import CLOSE, Result, Run
from tests.benchmarks.peers.machine import commit, machine
from tests.benchmarks.peers.models import SHAPES, VOCABULARY, endless, parameters_of
from tests.benchmarks.peers.prompts import Prompts
from tests.benchmarks.peers.run import Model, Rounds, clean
from tests.benchmarks.peers.scenarios import Scenario, for_real_model, table
from tests.benchmarks.peers.servers import MODES, OURS, Mode, flags_of

LATEST = BUILD / "latest.json"
"""The figures of the last whole run, which --engine-only-ours compares with."""

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 160


def main() -> None:
    options = arguments()
    if options.read:
        run = Run.load(options.read)
        scenarios = scenarios_for(run.about["real_model"], quick=run.about["quick"])
        report.show(run, scenarios, console)
        if options.write:
            tell(report.write(run, scenarios))
        return
    name = model_name(options.model) if options.model else None
    everything = scenarios_for(name, quick=options.quick)
    scenarios = [
        each for each in everything if not options.scenario or any(part in each.name for part in options.scenario)
    ]
    if not scenarios:
        raise SystemExit(f"--scenario: choose from {', '.join(each.name for each in everything)}")
    modes, not_installed = installed_modes(options)
    console.print("Making the models …")
    models = models_for(options.model, scenarios)
    whole = not (options.quick or options.scenario or options.peer or options.engine_only_ours)
    if options.resume:
        run, file = Run.load(options.resume), options.resume
        run.about |= {"rounds": options.rounds, "contenders": options.contenders, "command": command(options)}
    else:
        run = Run(about(options, models, modes, not_installed, name))
        file = BUILD / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"
    rounds = Rounds(
        run, file, modes=modes, ours=True, seconds=options.seconds, quick=options.quick,
        say=lambda line: console.print(line, markup=False, soft_wrap=True),
    )  # fmt: skip
    rounds.measure(models, scenarios, options.rounds, first=run.rounds, only_contenders=options.contenders)
    if whole:
        run.save(LATEST)
    elif options.engine_only_ours and LATEST.exists():
        latest = Run.load(LATEST)
        run.results += [each for each in latest.results if each.server != OURS and wanted(each, scenarios)]
        console.print(f"The peers' figures are those of {latest.about['date']}.")
    report.show(run, scenarios, console)
    console.print(f"All figures: {os.path.relpath(file, BUILD.parents[1])}")
    if whole or options.write:
        tell(report.write(run, scenarios))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--scenario", action="append", metavar="PART", help="only scenarios with this in their name")
    parser.add_argument("--peer", action="append", metavar="PART", help="only peers' modes with this in their name")
    parser.add_argument("--rounds", type=int, default=3, help="medians over so many (default %(default)s)")
    parser.add_argument(
        "--contenders",
        action="store_true",
        help=f"after the first round only modes within a factor of {CLOSE} of the best peer in some scenario",
    )
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on with a run whose last round is complete")
    parser.add_argument("--quick", action="store_true", help="small loads, to see that everything works")
    parser.add_argument(
        "--engine-only-ours", action="store_true", help="measure only Atelier, beside the peers' last whole run"
    )
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="a real model instead of the seeded ones")
    parser.add_argument("--seconds", type=float, default=300, help="limit of one load (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the report even after a partial run")
    parser.add_argument("--from", dest="read", type=Path, metavar="FILE", help="only report kept figures")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


def scenarios_for(real_model: str | None, *, quick: bool) -> list[Scenario]:
    scenarios = table() if real_model is None else for_real_model(table(), real_model)
    return [scenario.quickly() for scenario in scenarios] if quick else scenarios


def models_for(given: str | None, scenarios: list[Scenario]) -> list[Model]:
    if given is None:
        return [Model.made(name) for name in dict.fromkeys(scenario.model for scenario in scenarios)]
    folder = endless(given)
    return [Model(model_name(given), folder, Prompts(folder), seeded=False)]


def model_name(given: str) -> str:
    return Path(given).name


def installed_modes(options: argparse.Namespace) -> tuple[list[Mode], dict[str, str]]:
    """The modes to measure, and why which packages could not be installed."""
    if options.engine_only_ours:
        return [], {}
    modes = [mode for mode in MODES if not options.peer or any(part in mode.name for part in options.peer)]
    if not modes:
        raise SystemExit(f"--peer: choose from {', '.join(mode.name for mode in MODES)}")
    failed: dict[str, str] = {}
    for package in dict.fromkeys(mode.package for mode in modes):
        console.print(f"Installing {package} {PACKAGES[package]} …")
        try:
            Environment(package).ensure()
        except InstallationFailed as error:
            failed[package] = clean(error)
            console.print(f"{package}: {failed[package]}", style="red", markup=False)
    return [mode for mode in modes if mode.package not in failed], failed


def about(
    options: argparse.Namespace, models: list[Model], modes: list[Mode], not_installed: dict[str, str], name: str | None
) -> dict[str, Any]:
    versions = {package: Environment(package).versions() for package in dict.fromkeys(mode.package for mode in modes)}
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": command(options),
        "commit": commit(),
        "rounds": options.rounds,
        "contenders": options.contenders,
        "quick": options.quick,
        "real_model": name,
        "machine": machine(),
        "models": {model.name: described(model) for model in models},
        "versions": {
            **{f"{package} {found[package]}": found for package, found in versions.items()},
            "Atelier": own_versions(),
        },
        "flags": {mode.name: flags_of(mode) for mode in modes},
        "not_installed": not_installed,
    }


def command(options: argparse.Namespace) -> str:
    flags = ("contenders", "quick", "engine-only-ours")
    given = [f"--{name}" for name in flags if getattr(options, name.replace("-", "_"))]
    for name in ("scenario", "peer"):
        given += [word for part in getattr(options, name) or () for word in (f"--{name}", part)]
    if options.rounds != 3:
        given += ["--rounds", str(options.rounds)]
    if options.model:
        given += ["--model", model_name(options.model)]
    return f'make bench-peers ARGS="{shlex.join(given)}"' if given else "make bench-peers"


def described(model: Model) -> str:
    if not model.seeded:
        return "as published, with an end token that it does not use"
    shape = SHAPES[model.name]
    return (
        f"Qwen3-shaped, random weights, float32, {(parameters_of(model.folder) or 0) / 1e6:.1f} M parameters, "
        f"{shape.layers} layers, {shape.hidden} wide, {shape.heads} heads of {shape.head_dim} ({shape.kv_heads} of "
        f"keys and values), {shape.intermediate} in the MLP, {VOCABULARY:,} tokens, tied embedding"
    )


def wanted(result: Result, scenarios: list[Scenario]) -> bool:
    return any(result.scenario == scenario.name for scenario in scenarios)


def tell(files: list[Path]) -> None:
    console.print(f"Written: {', '.join(str(file.relative_to(BUILD.parents[1])) for file in files)}")


if __name__ == "__main__":
    main()
