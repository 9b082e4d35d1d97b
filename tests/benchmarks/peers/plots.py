"""One picture per scenario: horizontal bars as plain SVG, on a ground of their own, light or dark as the reader is."""

from html import escape
from pathlib import Path

from tests.benchmarks.peers.figures import Run
from tests.benchmarks.peers.scenarios import Metric, Scenario
from tests.benchmarks.peers.servers import OURS

WIDTH, LABELS, FIGURES = 760, 270, 90
"""Pixels: the picture, the names on the left, the room for a figure right of the longest bar."""
BAR, STEP, HEADING, MARGIN = 14, 22, 30, 16
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .heading { font-weight: 600 }
  .ground { fill: #ffffff; stroke: #d0d7de }
  .peer { fill: #9aa4af }
  .ours { fill: #1f6feb }
  .spread { stroke: #24292f; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ground { fill: #0d1117; stroke: #30363d }
    .peer { fill: #6e7681 }
    .ours { fill: #4493f8 }
    .spread { stroke: #e6edf3 }
  }
"""


def draw(run: Run, scenario: Scenario, folder: Path) -> Path:
    """Writes the scenario's picture and returns its file: a group of bars for each metric, medians with the spread."""
    servers = [server for server in run.servers() if any(run.values(metric, server) for metric in scenario.metrics)]
    parts: list[str] = []
    top = MARGIN
    for metric in scenario.metrics:
        if not any(run.values(metric, server) for server in servers):
            continue
        parts += group(run, metric, servers, top)
        top += HEADING + STEP * len(servers)
    height = top + MARGIN
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{scenario.name}.svg"
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(scenario.metrics[0].title)}">\n<style>{STYLE}</style>\n'
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
    return file


def group(run: Run, metric: Metric, servers: list[str], top: int) -> list[str]:
    better = "shorter" if metric.lower_is_better else "longer"
    parts = [text(MARGIN, top + 14, f"{metric.title} ({metric.unit}; {better} is better)", "heading")]
    longest = max(value for server in servers for value in run.values(metric, server))
    scale = (WIDTH - LABELS - FIGURES - MARGIN) / longest
    for place, server in enumerate(servers):
        y = top + HEADING + place * STEP
        parts.append(text(MARGIN, y + BAR - 3, server))
        value = run.figure(metric, server)
        if value is None:
            parts.append(text(LABELS, y + BAR - 3, "failed"))
            continue
        kind = "ours" if server == OURS else "peer"
        width = max(value * scale, 1)
        parts.append(f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>')
        values = run.values(metric, server)
        low, high = (LABELS + bound * scale for bound in (min(values), max(values)))
        middle = y + BAR / 2
        if len(values) > 1:
            parts.append(f'<line class="spread" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>')
        parts.append(text(round(max(high, LABELS + width)) + 6, y + BAR - 3, f"{value:,.3g}"))
    return parts


def text(x: int, y: int, content: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}"' + (f' class="{kind}"' if kind else "") + f">{escape(content)}</text>"
