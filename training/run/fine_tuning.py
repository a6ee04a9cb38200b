"""Fine-tuning: starting a run from trained networks, on other data or at another resolution."""

from collections.abc import Callable

import tensorflow as tf

from dnnlib.errors import UserError
from gansformer.loading import load
from gansformer.variables import variables_by_name
from training.state import TrainState

# Where the networks of a run come from, best first.
SOURCES = {"G": ("G", "Gs"), "D": ("D",), "Gs": ("Gs", "G")}


def initialize(state: TrainState, source: str, report: Callable[[str], None]) -> None:
    """Copy every variable of `source` with the same name and shape into a new run's networks.

    source: a run, a snapshot, an official pickle or a name, as for gansformer.load. Reports
    which variables keep their initial values. Raises UserError if no weight of the generator fits.
    """
    snapshot = load(source)
    for name, network in state.networks().items():
        found = [getattr(snapshot, other) for other in SOURCES[name]]
        trained = next((network for network in found if network is not None), None)
        stored = {} if trained is None else variables_by_name(trained)
        variables = variables_by_name(network)
        left = [key for key, variable in variables.items() if not _copy(variable, stored.get(key))]
        weights = {key for key, v in variables.items() if v.trainable and v.shape.rank > 1}
        if name == "G" and weights <= set(left):
            raise UserError(
                f"--init-from {source}: no weight of its generator fits this configuration; "
                "use a configuration like the one that it was trained with"
            )
        taken = len(variables) - len(left)
        rest = f"; new: {', '.join(sorted(left))}" if left else ""
        report(f"{name} from {source}: {taken} of {len(variables)} variables{rest}")
        if trained is not None and taken < len(variables) / 2:
            report(
                f"warning: only {taken} of {len(variables)} variables of {name} are in {source}; "
                "the others begin untrained. Was it trained with another architecture?"
            )


def _copy(variable: tf.Variable, source: tf.Variable | None) -> bool:
    if source is None or source.shape != variable.shape:
        return False
    variable.assign(source.numpy())
    return True
