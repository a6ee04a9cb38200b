"""Checkpoints as snapshot directories: official ones without the pickle, ours made small."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import require_writable
from gansformer.catalogue import RATIOS, fetch_model, model_names
from gansformer.fit import Fit
from gansformer.loading import load
from gansformer.official_checkpoint import fit_official
from gansformer.snapshot import Snapshot, save_snapshot
from gansformer.variables import variables_by_name

NETWORKS = ("G", "D", "Gs")


def convert_checkpoint(
    source: str,
    out: Path,
    *,
    networks: tuple[str, ...] = NETWORKS,
    half: bool = False,
    ratio: float | None = None,
    normalize_jointly: bool | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Write a checkpoint as the snapshot directory `out`.

    source: an official pickle, given by path or name, or a run or snapshot directory of ours.
    networks: which of those in it are kept. half: store float16. ratio: height / width of the
    useful part of the images, which hardly a pickle says; None: that of a catalogued model, or 1.
    normalize_jointly: of a GANformer from PyTorch, see `fit_torch`.
    Reports what became of the variables. Raises UserError, and writes nothing, if one does not fit.
    """
    if out.exists():
        raise UserError(f"{out} already exists; choose another --out")
    require_writable(out.parent, "--out")
    path = _find(source)
    if path.is_dir():
        if normalize_jointly is not None:
            raise UserError(f"{source} is no pickle; leave --normalize out")
        snapshot = load(path)
    else:
        snapshot = _read_official(path, networks, normalize_jointly, report)
        snapshot.details.setdefault("ratio", RATIOS.get(source, 1.0))
    if ratio is not None:
        snapshot.details["ratio"] = ratio
    kept = {name: getattr(snapshot, name) if name in networks else None for name in NETWORKS}
    if not any(kept.values()):
        raise UserError(f"{source} holds none of the networks {', '.join(networks)}")
    save_snapshot(dataclasses.replace(snapshot, **kept), out, half=half)


def _read_official(
    path: Path,
    networks: tuple[str, ...],
    normalize_jointly: bool | None,
    report: Callable[[str], None],
) -> Snapshot:
    snapshot, fits = fit_official(path, normalize_jointly=normalize_jointly)
    fits = {name: fit for name, fit in fits.items() if name in networks}
    for name, fit in fits.items():
        report(_describe(name, len(variables_by_name(getattr(snapshot, name))), fit))
        for line in fit.problems():
            report(f"  {name}/{line}")
    if "converted_from" in snapshot.details and normalize_jointly is None:
        report(
            "components are normalised each by itself, as in TensorFlow, where this network was "
            "trained; --normalize jointly: as the PyTorch program does"
        )
    count = sum(len(fit.problems()) for fit in fits.values())
    if count:
        raise UserError(f"{path}: {count} variables do not fit (listed above); nothing written")
    return snapshot


def _find(source: str) -> Path:
    if not Path(source).exists() and source in model_names():
        return fetch_model(source)
    return Path(source)


def _describe(name: str, count: int, fit: Fit) -> str:
    fitting = count - len(fit.missing) - len(fit.misshapen)
    ignored = f"; without effect: {', '.join(fit.ignored)}" if fit.ignored else ""
    return f"{name}: {fitting} of {count} variables fit{ignored}"
