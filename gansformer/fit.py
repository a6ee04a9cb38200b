"""How the variables of a foreign checkpoint fit a network of ours, and giving it those that do."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from gansformer.discriminator import Discriminator
from gansformer.variables import variables_by_name

NAMED_IN_ERROR = 5  # variables that a message lists; the rest is counted


class Fit(NamedTuple):
    """How the variables of a foreign network fit ours, by our names, each a sorted list.

    unmapped: stored, but of no part of our network. missing: needed, but not stored. misshapen:
    "name [stored shape], [needed shape]". ignored: stored or needed, but without any effect.
    """

    unmapped: list[str]
    missing: list[str]
    misshapen: list[str]
    ignored: list[str]

    def problems(self) -> list[str]:
        """Return a line for each variable that does not fit."""
        return [
            *(f"{name}: belongs to no part of this network" for name in self.unmapped),
            *(f"{name}: is missing" for name in self.missing),
            *(f"{name} needed" for name in self.misshapen),
        ]


def require_fit(path: Path, fits: dict[str, Fit]) -> None:
    """Raise UserError if a variable of one of the networks does not fit."""
    problems = [f"{name}/{line}" for name, fit in fits.items() for line in fit.problems()]
    if problems:
        more = len(problems) - NAMED_IN_ERROR
        raise UserError(
            f"{path}: is of a network that we do not have; {'; '.join(problems[:NAMED_IN_ERROR])}"
            + (f"; and {more} more" if more > 0 else "")
        )


def assign_fitting(network: tf.Module, stored: dict[str, np.ndarray]) -> Fit:
    """Give a network those of the stored variables that fit, and say which do not."""
    needed = variables_by_name(network)
    idle = {name for name in {*stored, *needed} if _is_idle(name, network)}
    misshapen = {
        name: f"{name} {list(stored[name].shape)}, {list(needed[name].shape)}"
        for name in sorted(set(stored) & set(needed))
        if tuple(stored[name].shape) != tuple(needed[name].shape)
    }
    for name in set(stored) & set(needed) - set(misshapen):
        needed[name].assign(stored[name].astype(np.float32))
    return Fit(
        unmapped=sorted(set(stored) - set(needed) - idle),
        missing=sorted(set(needed) - set(stored) - idle),
        misshapen=[text for name, text in misshapen.items() if name not in idle],
        ignored=sorted(idle & ((set(stored) ^ set(needed)) | set(misshapen))),
    )


def kimg_of(path: Path) -> float:
    """Return the digits after the last "-" of the file name, as in network-snapshot-010200.pkl."""
    digits = path.stem.rpartition("-")[2]
    return float(digits) if digits.isdigit() else 0.0


def _is_idle(name: str, network: tf.Module) -> bool:
    """Return whether a variable exists in some official programs only, and has no effect."""
    if name.rpartition("/")[2] == "lod":  # for growing networks, which these are not
        return True
    config = network.config
    attends = config.attention if isinstance(network, Discriminator) else config.has_attention
    if name == "ltnt_emb/emb":
        return not (attends and config.component_embedding)
    if name == "aggregators":
        return not attends
    last_noise = f"G_synthesis/noise{2 * network.canvas.log2 - 3}"  # belongs to no layer
    return name == last_noise
