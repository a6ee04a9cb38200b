"""One way to show progress: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def track(
    items: Iterable[Item],
    *,
    label: str,
    total: int | None = None,
    unit: str = "img",
    every_s: float = 10.0,
) -> Iterator[Item]:
    """Yield `items` while showing how many are done, the rate and the time left, on stderr.

    Where stderr is no terminal (a log file, CI), one plain line is written every `every_s` seconds
    and one at the end.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total, unit=unit, dynamic_ncols=True)
        return
    start = shown = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - shown >= every_s:
            shown = now
            _print_line(label, done, total, unit, now - start)
    _print_line(label, done, total, unit, time.monotonic() - start)


def _print_line(label: str, done: int, total: int | None, unit: str, elapsed_s: float) -> None:
    rate = done / max(elapsed_s, 1e-9)
    line = f"{label}: {done}{f'/{total}' if total else ''} {unit}, {rate:.1f} {unit}/s"
    if total and 0 < done < total:
        line += f", {format_duration((total - done) / rate)} left"
    print(line, file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """Format a time span in at most two units: `42s`, `3m 05s`, `2h 14m`, `1d 03h`."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d {seconds % 86400 // 3600:02d}h"
