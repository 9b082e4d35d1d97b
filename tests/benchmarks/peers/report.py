"""The figures as a table on the terminal and as the marked section of docs/benchmarks.md."""

from pathlib import Path
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import ROOT, plots
from tests.benchmarks.peers.environments import PACKAGES
from tests.benchmarks.peers.figures import CLOSE, Comparison, Run, compare
from tests.benchmarks.peers.scenarios import Metric, Scenario
from tests.benchmarks.peers.servers import OURS

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "benchmarks"
BEGIN, END = "<!-- peers -->", "<!-- /peers -->"


def figure(value: float | None, metric: Metric) -> str:
    """With the digits that mean something."""
    if value is None:
        return "–"
    if metric.lower_is_better:
        return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def title(metric: Metric) -> str:
    return metric.title if metric.lower_is_better else f"{metric.title}, {metric.unit}"


def ratio(comparison: Comparison) -> str:
    return "–" if comparison.ratio is None else f"{comparison.ratio:.3g} ×"


def show(run: Run, scenarios: list[Scenario], console: Console) -> None:
    """Every ratio, and what went wrong."""
    table = Table("scenario", "best peer", "", OURS, "ratio", "target", "")
    for column in (2, 3, 4, 5):
        table.columns[column].justify = "right"
        table.columns[column].no_wrap = True
    for each in compare(run, scenarios):
        name, best = each.best or ("–", None)
        colour = "green" if each.verdict.startswith("met") else "red" if each.verdict.startswith("missed") else "dim"
        table.add_row(
            title(each.metric), name, figure(best, each.metric),
            figure(each.ours, each.metric), ratio(each), each.target, f"[{colour}]{each.verdict}[/]",
        )  # fmt: skip
    console.print(table)
    if bare := bare_rows(run):
        table = Table("bare loop, decoding only, tok/s", *bare[0][1])
        for name, rates in bare:
            table.add_row(name, *rates.values())
        console.print(table)
    for line in failures(run):
        console.print(line, style="red", markup=False)


def bare_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """For each model and number of rows, the rate of each library."""
    libraries = list(dict.fromkeys(each.library for each in run.bare))
    libraries.sort(key=lambda library: [*PACKAGES, OURS].index(library))
    rows = []
    for model, count in sorted({(each.model, each.rows) for each in run.bare}):
        rates = {library: run.bare_figure(library, model, count) for library in libraries}
        shown = {library: "–" if rate is None else f"{rate:,.1f}" for library, rate in rates.items()}
        rows.append((f"{model}: {count} row{'s' if count > 1 else ''}", shown))
    return rows


def failures(run: Run) -> list[str]:
    installing = [f"{package} could not be installed: {why}" for package, why in run.about["not_installed"].items()]
    alike: dict[tuple[str, str], list[str]] = {}
    for each in run.failures():
        alike.setdefault((each.server, each.error), []).append(f"{each.scenario} (round {each.round + 1})")
    asking = [f"{server}, {', '.join(where)}: {error}" for (server, error), where in alike.items()]
    loops = [
        f"bare loop of {each.library}, {each.model}, {each.rows} rows: {each.error}" for each in run.bare if each.error
    ]
    return installing + asking + loops


def write(run: Run, scenarios: list[Scenario]) -> list[Path]:
    """Fills in the document's marked section and draws the pictures; returns the files."""
    pictures = [plots.draw(run, scenario, PICTURES) for scenario in scenarios if drawn(run, scenario)]
    document = DOCUMENT.read_text()
    if BEGIN not in document:
        document = f"{document.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = document.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{section(run, scenarios)}{END}{after}")
    return [DOCUMENT, *pictures]


def tried(run: Run, scenario: Scenario) -> bool:
    return any(each.scenario == scenario.name for each in run.results)


def drawn(run: Run, scenario: Scenario) -> bool:
    return any(each.scenario == scenario.name and each.figures for each in run.results)


def section(run: Run, scenarios: list[Scenario]) -> str:
    comparisons = compare(run, scenarios)
    parts = [
        introduction(run.about),
        markdown(
            ["scenario", *PACKAGES, "best peer", "Atelier", "ratio", "target", ""],
            [
                [
                    title(each.metric),
                    *(figure(each.best_of(package), each.metric) for package in PACKAGES),
                    (each.best or ("–",))[0],
                    figure(each.ours, each.metric),
                    ratio(each),
                    each.target,
                    each.verdict,
                ]
                for each in comparisons
            ],
        ),
        "Rates are tokens per second over all streams, times are medians over the requests. The ratio is Atelier's "
        'figure by the best peer\'s; "met (equal)" stands for 0.97 and more where the target is 1.',
    ]
    if bare := bare_rows(run):
        parts += [
            "### Bare loops",
            "Each library's own loop without a server, decoding only, tokens per second; vllm-mlx drives the loop of "
            "the mlx-lm in its environment; Atelier's is its engine asked in its own protocol.",
            markdown(["", *bare[0][1]], [[name, *rates.values()] for name, rates in bare]),
        ]
    parts += [
        "### What was asked",
        "\n".join(f"- **{scenario.name}**: {scenario.asked}." for scenario in scenarios if tried(run, scenario)),
        "### How the peers ran",
        "\n".join(f"- {name}: `{flags}`" for name, flags in run.about["flags"].items()),
    ]
    if failed := failures(run):
        parts += ["### What failed", "\n".join(f"- {line.replace('|', '/')}" for line in failed)]
    parts += [
        "### Pictures",
        "\n\n".join(
            f"![{scenario.name}](benchmarks/{scenario.name}.svg)" for scenario in scenarios if drawn(run, scenario)
        ),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


FEWER = f" (one of modes that are nowhere within a factor of {CLOSE} of the best peer)"


def introduction(about: dict[str, Any]) -> str:
    machine = about["machine"]
    blas = "no OpenBLAS" if machine["openblas"] == "none" else f"{machine['openblas']} preloaded for everyone"
    warning = "" if not about["quick"] else "**A trial run with smaller loads: its figures mean nothing.** "
    models = "; ".join(f"{name}: {text}" for name, text in about["models"].items())
    versions = "; ".join(
        f"{package} on "
        + ", ".join(f"{name} {version}" for name, version in found.items() if package != f"{name} {version}")
        for package, found in about["versions"].items()
    )
    paragraphs = [
        f"{warning}Measured on {about['date']} with `{about['command']}`. Medians of {about['rounds']} round(s)"
        f"{FEWER if about.get('contenders') else ''}, "
        "servers in turns within each, one at a time; Atelier as the whole server with keys, quotas and ledger, commit "
        f"{about['commit']}.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"MLX on {machine['mlx_device']}, {blas}, Python {machine['python']}; load average before the run "
        f"{machine['load_before']}.",
        f"Models: {models}.",
        f"Versions: {versions}.",
    ]
    return "\n\n".join(fill(paragraph, 116, break_on_hyphens=False, break_long_words=False) for paragraph in paragraphs)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
