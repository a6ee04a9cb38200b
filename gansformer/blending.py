"""Two generators made one, by resolution: "layer swapping" (Pinkney & Adler 2020)."""

import re

from dnnlib.errors import UserError
from gansformer.generator import Generator
from gansformer.variables import variables_by_name


def blend_generators(low: Generator, high: Generator, resolution: int) -> Generator:
    """Return a generator with `low`'s weights, from layers of `resolution` pixels on `high`'s.

    Mapping, embeddings and positions are those of `low`: it decides on the composition, `high` on
    the details. They fit when one network was trained on from the other.
    Raises UserError if the two are not of the same configuration.
    """
    shape = lambda g: (g.config, g.resolution, g.channels, g.label_dim)  # noqa: E731
    if shape(low) != shape(high):
        raise UserError("--blend: the two models have different configurations; they cannot blend")
    blended = Generator(
        low.config,
        resolution=low.resolution,
        channels=low.channels,
        label_dim=low.label_dim,
        dtype=low.synthesis_network.dtypes[low.canvas.log2],
    )
    sources = [variables_by_name(generator) for generator in (low, high)]
    for name, variable in variables_by_name(blended).items():
        match = re.match(r"G_synthesis/(\d+)x\1/", name)
        is_high = match is not None and int(match[1]) >= resolution
        variable.assign(sources[is_high][name])
    blended.truncation, blended.component_averages = low.truncation, low.component_averages
    return blended
