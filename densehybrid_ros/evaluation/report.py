"""``report.html``: one self-contained page with the figures, curves and worst frames of evaluations."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from densehybrid_ros import __version__
from densehybrid_ros.evaluation.curves import CurvePoints
from densehybrid_ros.evaluation.gallery import FALSE_ALARM, MISS, UNKNOWN, Gallery, Picture
from densehybrid_ros.evaluation.hazard_figures import HazardFigures, Moment
from densehybrid_ros.evaluation.hazard_tables import hazard_bin_rows, hazard_lines, speed_rows
from densehybrid_ros.evaluation.protocols import AP, FPR95
from densehybrid_ros.evaluation.results import (
    EvaluationResult,
    distance_rows,
    main_rows,
    notes,
    obstacle_lines,
    obstacle_rows,
    percent,
    published_bins,
    to_csv,
    used_columns,
)
from densehybrid_ros.files import write_together
from densehybrid_ros.pages.charts import Axis, Series, legend, line_chart, round_up

_LOWEST_FPR = 1e-5
_DRIVES_SHOWN = 8

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; margin: 0 auto; padding: 24px;
       max-width: 1180px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 8px; } h3 { font-size: 16px; }
.lead { color: #4a5565; margin: 0 0 8px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 8px 0 16px; }
th, td { padding: 5px 12px; border-bottom: 1px solid #e2e6ec; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .origin th:last-child, .origin td:last-child { text-align: left; }
th { cursor: pointer; user-select: none; background: #f4f6f9; position: relative; }
th[aria-sort=ascending]::after { content: " \\25B2"; } th[aria-sort=descending]::after { content: " \\25BC"; }
tr.measured td { font-weight: 600; background: #eef6ff; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 16px; }
svg { width: 100%; height: auto; border: 1px solid #e2e6ec; border-radius: 6px; }
svg .grid { stroke: #e9edf2; } svg text { font: 12px system-ui, sans-serif; fill: #4a5565; }
svg .title { font-weight: 600; font-size: 14px; fill: #1c2430; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0; }
.legend i { display: inline-block; width: 18px; height: 4px; margin-right: 6px; vertical-align: middle; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px; }
figure { margin: 0; } figure img { width: 100%; border-radius: 4px; display: block; }
figcaption { font-size: 13px; color: #4a5565; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } ul.notes { color: #4a5565; }
"""

_SCRIPT = """
for (const head of document.querySelectorAll("table.sortable th")) {
  head.addEventListener("click", () => {
    const table = head.closest("table"), body = table.tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") === "descending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => {
      const text = row.cells[column].textContent.trim(), number = parseFloat(text);
      return text === "-" || text === "" ? null : (isNaN(number) ? text.toLowerCase() : number);
    };
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    });
    body.append(...rows);
  });
}
"""


def write_report(folder: Path, results: Sequence[EvaluationResult]) -> None:
    """Writes ``report.html``, ``report.json`` and ``report.csv`` into a folder, all or none."""
    texts = {
        "report.json": json.dumps([result.to_dict() for result in results], indent=2, allow_nan=False) + "\n",
        "report.csv": "\n".join(to_csv(result) for result in results),
        "report.html": report_page(results),
    }
    write_together({folder / name: text.encode() for name, text in texts.items()})


def report_page(results: Sequence[EvaluationResult]) -> str:
    """Builds the page."""
    models = ", ".join(dict.fromkeys(result.model for result in results))
    body = "\n".join(_section(result) for result in results)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of {escape(models)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Evaluation of {escape(models)}</h1>
<p class="lead">densehybrid_ros {__version__}. Figures in percent; a click on a column's head sorts by it.</p>
{body}
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _section(result: EvaluationResult) -> str:
    size = f", input {result.size[1]}x{result.size[0]}" if result.size else ""
    parts = [
        f"<h2>{escape(result.dataset)}</h2>",
        f'<p class="lead">{escape(result.model)}, {result.frames} frames in {result.seconds:.1f} s on '
        f"{escape(result.device)}{size}</p>",
        _main_table(result),
        _notes(result),
    ]
    if result.curves:
        parts.append(_curves(result.curves))
    if result.distances:
        parts.append(_distances(result))
    if result.obstacles is not None:
        lines = "".join(f"<p>{escape(line)}</p>" for line in obstacle_lines(result.obstacles))
        parts.append("<h3>Obstacles</h3>" + lines + _table(*obstacle_rows(result.obstacles)))
    if result.hazards is not None:
        parts.append(_alerts(result.hazards))
    if result.class_iou:
        rows = [[name, percent(100 * value), ""] for name, value in result.class_iou.items()]
        parts.append("<h3>Closed set</h3>" + _table(["class", "IoU", ""], rows))
    if result.gallery is not None:
        parts.append(_gallery(result.gallery))
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str] | None = None) -> str:
    kinds = classes or [""] * len(rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = [
        f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row, kind in zip(rows, kinds, strict=True)
    ]
    body = "\n".join(lines)
    kind = "sortable origin" if header[-1] in ("from", "") else "sortable"
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _main_table(result: EvaluationResult) -> str:
    rows = main_rows(result)
    if not rows:
        return ""
    columns = used_columns(rows)
    cells = [[who, *(percent(figures.get(name)) for name in columns), origin] for who, figures, origin in rows]
    kinds = ["measured" if origin == "measured" else "" for _, _, origin in rows]
    return _table(["score", *columns, "from"], cells, kinds)


def _notes(result: EvaluationResult) -> str:
    lines = [*result.remarks, *notes(result), *(f"left out: {reason}" for reason in result.left_out[1:])]
    if not lines:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _curves(curves: dict[str, CurvePoints]) -> str:
    precision_recall, roc = [], []
    for name, points in curves.items():
        recall, precision = _steps(points)
        precision_recall.append(Series(name, recall, precision))
        roc.append(Series(name, [*points.fpr.tolist(), 1.0], [*points.recall.tolist(), 1.0]))
    unit = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    charts = [
        line_chart(
            "Precision and recall",
            Axis("recall", 0, 1, ticks=unit),
            Axis("precision", 0, 1, ticks=unit),
            precision_recall,
        ),
        line_chart(
            "ROC",
            Axis("false positive rate (logarithmic)", _LOWEST_FPR, 1, log=True),
            Axis("true positive rate", 0, 1, ticks=unit),
            roc,
        ),
    ]
    return f"<h3>Curves</h3>{legend(list(curves))}" + f'<div class="charts">{"".join(charts)}</div>'


def _steps(points: CurvePoints) -> tuple[list[float], list[float]]:
    """The curve as average precision sums it up: each precision holds from the recall before to its own."""
    before = np.concatenate(([0.0], points.recall[:-1]))
    recall = np.stack((before, points.recall), axis=1).ravel()
    return recall.tolist(), np.repeat(points.precision, 2).tolist()


def _distances(result: EvaluationResult) -> str:
    edges = result.edges
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    x_axis = Axis("distance [m]", edges[0], edges[-1], ticks=edges)
    names = [*result.distances]
    precision = [
        Series(name, middles, [100 * item.average_precision for item in bins])
        for name, bins in result.distances.items()
    ]
    rates = [Series(name, middles, [100 * item.fpr95 for item in bins]) for name, bins in result.distances.items()]
    for method, figures in published_bins(result).items():
        names.append(method)
        precision.append(Series(method, middles, [figure[0] for figure in figures], dashed=True))
        rates.append(Series(method, middles, [figure[1] for figure in figures], dashed=True))
    highest = max([5.0, *(value for line in rates for value in line.y if not math.isnan(value))])
    top = min(100.0, 5 * math.ceil(highest / 5))
    charts = [
        line_chart("AP by distance", x_axis, Axis(f"{AP} [%]", 0, 100), precision, markers=True),
        line_chart("FPR95 by distance", x_axis, Axis(f"{FPR95} [%]", 0, top), rates, markers=True),
    ]
    header, rows = distance_rows(result)
    return f'<h3>By distance</h3>{legend(names)}<div class="charts">{"".join(charts)}</div>{_table(header, rows)}'


def _alerts(figures: HazardFigures) -> str:
    parts = ["<h3>Alerts</h3>", *(f"<p>{escape(line)}</p>" for line in hazard_lines(figures))]
    drives: dict[str, list[Moment]] = {}
    for moment in figures.timeline:
        drives.setdefault(moment.drive, []).append(moment)
    shown = dict([*drives.items()][:_DRIVES_SHOWN])
    if any(len(moments) > 1 for moments in shown.values()):
        parts.append(_timeline(shown))
    if figures.first_alert:
        parts += [_table(*hazard_bin_rows(figures)), _table(*speed_rows(figures))]
    return "\n".join(parts)


def _timeline(drives: dict[str, list[Moment]]) -> str:
    """Charts of the number of hazards and the nearest one's distance over time, a line a drive."""
    moments = [moment for line in drives.values() for moment in line]
    x_axis = Axis("time [s]", 0, round_up(max(max(moment.seconds for moment in moments), 0.1)))
    most = round_up(max(5, max(moment.hazards for moment in moments)))
    counts, distances = [], []
    for name, line in drives.items():
        seconds = [moment.seconds for moment in line]
        counts.append(Series(name, seconds, [float(moment.hazards) for moment in line]))
        near = [math.nan if moment.nearest is None else moment.nearest for moment in line]
        distances.append(Series(name, seconds, near))
    charts = [line_chart("Active hazards", x_axis, Axis("hazards", 0, most), counts)]
    known = [value for line in distances for value in line.y if not math.isnan(value)]
    if known:
        y_axis = Axis("distance [m]", 0, round_up(max(*known, 10.0)))
        charts.append(line_chart("Distance of the nearest hazard", x_axis, y_axis, distances))
    names = legend([*drives]) if len(drives) > 1 else ""
    return f'{names}<div class="charts">{"".join(charts)}</div>'


def _gallery(gallery: Gallery) -> str:
    if not any(gallery.pictures.values()):
        return ""
    parts = [
        f"<h3>Frames of {escape(gallery.score)} at the threshold {gallery.threshold:.3f}</h3>",
        '<p class="lead">Green: found. Red: false alarm. Yellow: missed. Dark: not evaluated. '
        "Cyan: unknown, of a frame without labels.</p>",
    ]
    titles = ((FALSE_ALARM, "Most false alarms"), (MISS, "Most missed"), (UNKNOWN, "Most unknown pixels"))
    for kind, title in titles:
        pictures = gallery.pictures[kind]
        if pictures:
            parts.append(f'<h4>{title}</h4><div class="pictures">{"".join(map(_figure, pictures))}</div>')
    return "\n".join(parts)


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.jpeg).decode("ascii")
    of = {FALSE_ALARM: "its inlier ones", MISS: "its anomalous ones", UNKNOWN: "the frame"}[picture.kind]
    caption = f"{picture.name}: {picture.pixels} pixels, {100 * picture.share:.1f} % of {of}"
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
