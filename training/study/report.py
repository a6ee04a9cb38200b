"""The report of a study: what its rows have come to, side by side."""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnnlib.config import flatten
from metrics.names import parse_metrics
from training.study.charts import Point, line_chart
from training.study.document import (
    Cell,
    Chart,
    Picture,
    Section,
    Strong,
    Table,
    write_html,
    write_markdown,
)
from training.study.plan import Study
from training.study.results import Result, is_of

IMAGES = "report-images"
COLUMNS, ROWS = 4, 2  # images of a cell: the first latents of a run's grids
ATTENTION_ROWS = 4
CELL_PIXELS = 64  # images are brought near this size
HIGHER_IS_BETTER = ("is", "pr", "dc")
NOTHING = "–"


def write_report(study: Study, results: Sequence[Result], out: Path) -> list[Path]:
    """Write report.html, which needs no other file, and report.md with the folder report-images."""
    sections = [
        Section("", _summary(study, results)),
        Section("At each point", _metric_tables(study, results)),
        Section("Published values", _published(study, results)),
        Section("Curves", _charts(study, results)),
        Section("The same latents over training", _images(study, results)),
        Section("Where components attend", _attention(study, results)),
        Section("Cost", _cost(study, results)),
        Section("Settings that differ", _settings(study, results)),
        Section("What was compared with what", _provenance(study, results)),
    ]
    sections = [section for section in sections if section.parts]
    html, markdown = out / "report.html", out / "report.md"
    write_html(html, study.title, sections)
    write_markdown(markdown, study.title, sections, IMAGES)
    return [html, markdown]


def _summary(study: Study, results: Sequence[Result]) -> list[str | Table]:
    waiting = [result for result in results if not result.is_complete(study)]
    seeds = len({result.seed for result in results})
    lines = [
        f"{len(results) - len(waiting)} of {len(results)} runs are finished: {len(study.rows)} "
        f"rows, {seeds} seed{'s' * (seeds > 1)}, {study.kimg:g} kimg."
    ]
    if waiting:
        states = (f"{_label(result, results)}: {result.state(study)}" for result in waiting)
        lines.append(f"Not finished: {'; '.join(states)}.")
    if seeds == 1:
        lines.append(
            "One seed says nothing about how much the values of a row differ from one seed to "
            "another, so small differences between rows may be chance."
        )
    else:
        lines.append("Values are means over seeds ± their standard deviation.")
    return lines


def _label(result: Result, results: Sequence[Result]) -> str:
    several = len({other.seed for other in results}) > 1
    return f"{result.row}, seed {result.seed}" if several else result.row


def _names(study: Study, results: Sequence[Result]) -> list[str]:
    """Return the names of all values, in the order of the study's metrics."""
    found = {name for r in results for record in r.points.values() for name in record["metrics"]}
    return [
        name
        for metric in parse_metrics(study.metrics)
        for name in sorted(found)
        if is_of(metric, name) and not name.endswith("_std")
    ]


def _values(results: Sequence[Result], row: str, point: float, name: str) -> list[float]:
    """Return a value of all seeds that have it."""
    records = [result.points.get(point) for result in results if result.row == row]
    return [record["metrics"][name] for record in records if record and name in record["metrics"]]


def _is_better_high(name: str) -> bool:
    return name.startswith(HIGHER_IS_BETTER)


def _metric_tables(study: Study, results: Sequence[Result]) -> list[str | Table]:
    parts: list[str | Table] = []
    for name in _names(study, results):
        columns = {
            point: {row.name: _values(results, row.name, point, name) for row in study.rows}
            for point in study.points
        }
        rows = [
            [row.name, *(_mean_cell(column, row.name, name) for column in columns.values())]
            for row in study.rows
        ]
        better = "higher" if _is_better_high(name) else "lower"
        caption = f"{name} ({better} is better)"
        parts.append(Table(caption, ["row", *(f"{p:g} kimg" for p in study.points)], rows))
        parts += _order(study, columns, name)
    if parts:
        parts.insert(0, "The best of each column stands out. Counts and digests: at the end.")
    there = _names(study, results)
    missing = [m.name for m in parse_metrics(study.metrics) if not any(is_of(m, n) for n in there)]
    if parts and missing:
        parts.append(f"Not measured: {', '.join(missing)}.")
    return parts


def _mean_cell(column: dict[str, list[float]], row: str, name: str) -> Cell:
    values = column[row]
    if not values:
        return NOTHING
    text = _format(statistics.mean(values))
    if len(values) > 1:
        text += f" ± {_format(statistics.stdev(values))} ({len(values)})"
    means = [statistics.mean(others) for others in column.values() if others]
    best = max(means) if _is_better_high(name) else min(means)
    return Strong(text) if len(means) > 1 and statistics.mean(values) == best else text


def _order(study: Study, columns: dict[float, dict[str, list[float]]], name: str) -> list[str]:
    """Say the order of the rows at the last point that all rows have."""
    whole = [point for point, column in columns.items() if all(column.values())]
    if not whole or len(study.rows) < 2:
        return []
    means = {row: statistics.mean(values) for row, values in columns[whole[-1]].items()}
    order = sorted(means, key=means.get, reverse=_is_better_high(name))
    return [f"Best to worst by {name} at {whole[-1]:g} kimg: {', '.join(order)}."]


def _published(study: Study, results: Sequence[Result]) -> list[str | Table]:
    rows = [row for row in study.rows if row.published is not None]
    if not rows:
        return []
    about, names = study.published, _names(study, results)
    reached = [p for p in study.points if any(p in result.points for result in results)]
    last = reached[-1] if reached else study.points[-1]
    columns = {
        name: {row.name: _values(results, row.name, last, name) for row in study.rows}
        for name in names
    }
    table = [
        [
            row.name,
            _format(row.published) if row.published is not None else NOTHING,
            *(_mean_cell(column, row.name, name) for name, column in columns.items()),
        ]
        for row in study.rows
    ]
    head = ["row", f"published {about.metric}", *(f"{name} here, {last:g} kimg" for name in names)]
    order = ", ".join(row.name for row in sorted(rows, key=lambda row: row.published))
    return [
        f"Published, not measured here: {about.source}. {about.note}".strip(),
        Table("", head, table),
        f"Published order, best to worst: {order}.",
    ]


def _charts(study: Study, results: Sequence[Result]) -> list[str | Chart]:
    reached = [p for p in study.points if any(p in result.points for result in results)]
    log = bool(reached) and reached[-1] > 10 * reached[0]
    ticks = reached if log or len(reached) == 1 else [0, *reached]
    parts: list[str | Chart] = []
    for name in _names(study, results):
        for axis, label in (("images", "thousand images shown"), ("hours", "hours of training")):
            lines = {}
            for row in study.rows:
                runs = [result for result in results if result.row == row.name]
                line = [_point(runs, point, name, axis) for point in reached]
                if any(line):
                    lines[row.name] = [point for point in line if point]
            marks = {"x_ticks": ticks, "log_x": log} if axis == "images" else {}
            svg = line_chart(lines, x_label=label, y_label=name, **marks)
            parts.append(Chart(f"{name}-{axis}", f"{name} over {label}", svg))
    return parts


def _point(runs: Sequence[Result], point: float, name: str, axis: str) -> Point | None:
    """Return the mean of the runs that have the value at a point, and its range."""
    there = [run for run in runs if name in run.points.get(point, {"metrics": {}})["metrics"]]
    if not there:
        return None
    values = [run.points[point]["metrics"][name] for run in there]
    x = point if axis == "images" else statistics.mean(run.hours_at(point) for run in there)
    return Point(x, statistics.mean(values), min(values), max(values))


def _images(study: Study, results: Sequence[Result]) -> list[str | Table]:
    first = _first_seeds(study, results)
    rows: list[list[Cell]] = []
    for point in study.points:
        cells = [_picture(result, point) for result in first]
        if any(isinstance(cell, Picture) for cell in cells):
            rows.append([f"{point:g} kimg", *cells])
    if not rows:
        return []
    psi = next((r.config["output"]["psi"] for r in first if r.config), None)
    reals = [_reals(result) for result in first]
    rows.append(["real", *reals])
    seed = " of the lowest seed" if len({r.seed for r in results}) > 1 else ""
    return [
        f"Moving average{seed}, truncation psi {psi:g}; a column has the same latents all the way.",
        Table("", ["", *(result.row for result in first)], rows, "images"),
    ]


def _first_seeds(study: Study, results: Sequence[Result]) -> list[Result]:
    """Return for each row the result of its lowest seed."""
    return [
        min((r for r in results if r.row == row.name), key=lambda r: r.seed) for row in study.rows
    ]


def _picture(result: Result, point: float) -> Cell:
    path = _find_grid(result, point, "")
    if path is None:
        return NOTHING
    shows = f"{result.row} at {point:g} kimg"
    return Picture(f"{result.row}-{point:g}kimg", shows, _crop_grid(path, result))


def _reals(result: Result) -> Cell:
    path = result.run / "samples" / "reals.png"
    if not path.is_file():
        return NOTHING
    return Picture(f"{result.row}-real", "real images", _crop_grid(path, result))


def _find_grid(result: Result, point: float, suffix: str) -> Path | None:
    """Return the first grid of a run at or within 1 kimg after a point."""
    found = {}
    for path in (result.run / "samples").glob(f"fakes-*{suffix}.png"):
        if match := re.fullmatch(rf"fakes-(\d{{6,}})(?:\.(\d{{3}}))?{suffix}\.png", path.name):
            found[1000 * int(match[1]) + int(match[2] or 0)] = path
    return next((found[n] for n in sorted(found) if 0 <= n - point * 1000 < 1000), None)


def _crop_grid(path: Path, result: Result) -> np.ndarray:
    """Return the first images of a grid, laid out anew."""
    columns, rows = (result.config["output"][name] for name in ("grid_columns", "grid_rows"))
    grid = _read(path)
    height, width = grid.shape[0] // rows, grid.shape[1] // columns
    tiles = grid.reshape(rows, height, columns, width, 3).swapaxes(1, 2)
    tiles = tiles.reshape(-1, height, width, 3)[: COLUMNS * ROWS]
    shown = min(COLUMNS, len(tiles))
    lines = len(tiles) // shown
    tiles = tiles[: shown * lines].reshape(lines, shown, height, width, 3).swapaxes(1, 2)
    return _resize(tiles.reshape(lines * height, shown * width, 3), CELL_PIXELS / width)


def _attention(study: Study, results: Sequence[Result]) -> list[str | Table]:
    cells: dict[str, Cell] = {}
    for result in _first_seeds(study, results):
        for point in reversed(study.points):
            if path := _find_grid(result, point, "-attention"):
                cells[f"{result.row}, {point:g} kimg"] = _attention_picture(path, result, point)
                break
    if not cells:
        return []
    return [
        "The image, then the last attention layer of each resolution, averaged over heads: each "
        "position has the colour of the component that it attends to most.",
        Table("", list(cells), [list(cells.values())], "images"),
    ]


def _attention_picture(path: Path, result: Result, point: float) -> Picture:
    output = result.config["output"]
    grid = _read(path)
    rows = min(8, output["grid_columns"] * output["grid_rows"])
    height = grid.shape[0] // rows
    part = grid[: height * min(ATTENTION_ROWS, rows)]
    shows = f"attention of {result.row} at {point:g} kimg"
    return Picture(f"{result.row}-attention", shows, _resize(part, CELL_PIXELS / height))


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _resize(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge by repetition, or make smaller by averaging."""
    if scale >= 1:
        return pixels.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    size = [max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0])]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _cost(study: Study, results: Sequence[Result]) -> list[str | Table]:
    rows = []
    for result in results:
        sec, memory = result.sec_per_kimg, result.memory_gb
        rows.append(
            [
                _label(result, results),
                result.state(study),
                f"{result.kimg:.4g}",
                NOTHING if sec is None else f"{sec:.1f}",
                NOTHING if sec is None else f"{result.hours_at(result.kimg):.3g}",
                NOTHING if memory is None else f"{memory:.1f} GB",
                result.precision or NOTHING,
                _device(result),
                result.parameters or NOTHING,
            ]
        )
    head = ["row", "state", "kimg", "sec/kimg", "hours", "peak memory"]
    return [
        Table("", [*head, "precision", "device", "networks"], rows),
        "sec/kimg is the median over ticks, with what was written in them; hours are those of "
        "training, without measuring.",
    ]


def _device(result: Result) -> str:
    if result.device.startswith("CPU"):
        return f"{result.device}: {result.processor}"
    return result.device or NOTHING


def _settings(study: Study, results: Sequence[Result]) -> list[str | Table]:
    flat = {r.row: flatten(r.config) for r in _first_seeds(study, results) if r.config}
    options = sorted({option for config in flat.values() for option in config})
    rows: list[list[Cell]] = []
    for option in options:
        values = [str(config.get(option, NOTHING)) for config in flat.values()]
        if len(set(values)) > 1 and not option.startswith("output."):
            rows.append([option, *values])
    if not rows:
        return []
    return [Table("", ["option", *flat], rows, "text")]


def _provenance(study: Study, results: Sequence[Result]) -> list[str | Table]:
    records = [record for result in results for record in result.points.values()]
    if not records:
        return []
    facts: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
        ("images in the data set", lambda r: r["real"]["count"]),
        ("digest of the data set", lambda r: r["real"]["digest"]),
        ("resolution", lambda r: r["real"].get("resolution")),
        ("half of the real images mirrored", lambda r: r["real"].get("mirror")),
        ("network", lambda r: r["network"]),
        ("first seed of the generated images", lambda r: r["fake"]["seed"]),
        ("truncation psi", lambda r: r["fake"]["psi"]),
        ("noise", lambda r: r["fake"]["noise"]),
        ("TensorFlow", lambda r: r["versions"]["tensorflow"]),
    ]
    rows = [[what, *_distinct(records, get)] for what, get in facts]
    for metric in parse_metrics(study.metrics):
        rows.append([f"{metric.name}: images of each side, at most", str(metric.count)])
    networks = dict.fromkeys(name for record in records for name in record["networks"])
    for name in networks:
        digests = _distinct(records, lambda r, name=name: r["networks"].get(name, ""))
        rows.append([f"digest of the features {name}", *digests])
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    return [Table("", ["", "value", *["another value"] * (width - 2)], rows, "text")]


def _distinct(records: Sequence[dict[str, Any]], get: Callable[[dict[str, Any]], Any]) -> list[str]:
    """Return the different values, shortened if they are digests."""
    values = dict.fromkeys(str(get(record)) for record in records)
    return [value[:16] if len(value) == 64 else value for value in values if value] or [NOTHING]


def _format(value: float) -> str:
    """Three or four digits."""
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"
