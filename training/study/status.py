"""How far the runs of a study are, in a few lines."""

from collections.abc import Sequence

from dnnlib.progress import format_duration
from training.study.plan import Study
from training.study.results import Result


def format_status(study: Study, results: Sequence[Result]) -> str:
    """Return a line for each run, with the metrics of its last point."""
    width = max(len(_name(result)) for result in results)
    lines = [study.title]
    for result in results:
        line = f"  {_name(result):{width}}  {result.state(study)}"
        if result.ticks and result.kimg < study.kimg:
            left = (study.kimg - result.kimg) * result.sec_per_kimg
            line += f", {format_duration(left)} of training left"
        if result.points:
            point, record = list(result.points.items())[-1]
            values = "  ".join(f"{key} {value:.4g}" for key, value in record["metrics"].items())
            line += f"; at {point:g} kimg {values}"
        lines.append(line)
    return "\n".join(lines)


def _name(result: Result) -> str:
    return f"{result.row} (seed {result.seed})"
