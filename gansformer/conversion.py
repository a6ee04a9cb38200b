"""Official checkpoints as snapshot directories, which load without the pickle."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dnnlib.errors import UserError
from gansformer.catalogue import RATIOS, fetch_model, model_names
from gansformer.official_checkpoint import Fit, fit_official
from gansformer.snapshot import save_snapshot
from gansformer.variables import variables_by_name

NETWORKS = ("G", "D", "Gs")


def convert_checkpoint(
    source: str,
    out: Path,
    *,
    networks: tuple[str, ...] = NETWORKS,
    half: bool = False,
    ratio: float | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Write an official pickle, given by path or name, as the snapshot directory `out`.

    networks: which of those in the file are kept. half: store float16. ratio: height / width of the
    useful part of the pictures, which no pickle tells; None: that of a catalogued model, or 1.
    Reports what became of the variables. Raises UserError, and writes nothing, if one does not fit.
    """
    if out.exists():
        raise UserError(f"{out} already exists; choose another --out")
    snapshot, fits = fit_official(_find(source))
    fits = {name: fit for name, fit in fits.items() if name in networks}
    if not fits:
        raise UserError(f"{source} holds none of the networks {', '.join(networks)}")
    for name, fit in fits.items():
        report(_describe(name, len(variables_by_name(getattr(snapshot, name))), fit))
        for line in fit.problems():
            report(f"  {name}/{line}")
    count = sum(len(fit.problems()) for fit in fits.values())
    if count:
        raise UserError(f"{source}: {count} variables do not fit (listed above); nothing written")
    dropped = {name: None for name in NETWORKS if name not in fits}
    ratio = RATIOS.get(source, 1.0) if ratio is None else ratio
    details = {**snapshot.details, "ratio": ratio}
    save_snapshot(dataclasses.replace(snapshot, details=details, **dropped), out, half=half)


def _find(source: str) -> Path:
    if not Path(source).exists() and source in model_names():
        return fetch_model(source)
    return Path(source)


def _describe(name: str, count: int, fit: Fit) -> str:
    fitting = count - len(fit.missing) - len(fit.misshapen)
    ignored = f"; without effect: {', '.join(fit.ignored)}" if fit.ignored else ""
    return f"{name}: {fitting} of {count} variables fit{ignored}"
