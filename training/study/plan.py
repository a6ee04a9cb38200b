"""What a study consists of, read from its file."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Annotated

from dnnlib.config import from_mapping, read_yaml
from dnnlib.errors import MissingFile, UserError, suggest
from dnnlib.numbers import LARGEST, FiniteNumber, Seed
from gansformer.configurations import CONFIGS
from metrics.names import parse_metrics
from training.config import RunConfig, is_auto, read_options

STUDIES = CONFIGS / "studies"
Kimg = Annotated[float, FiniteNumber(0.001, LARGEST)]


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of network. set: changes of its configuration, as train.py takes them."""

    name: str
    config: str
    set: tuple[str, ...] = ()
    published: float | None = None  # value of the study's `published.metric`

    def __post_init__(self):
        if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_+-]*[A-Za-z0-9_+])?", self.name):
            raise UserError(f"row {self.name!r}: a name has letters, digits, _, + and - only")


@dataclasses.dataclass(frozen=True)
class Published:
    """Where the published values of the rows are from."""

    metric: str = ""
    source: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """All that `study.py run` does.

    data: directory of the data set, made by prepare_data.py with the arguments `prepare` where
    there is none. set: changes of the configurations of all rows, before those of a row. points:
    thousands of images after which rows are looked at.
    """

    title: str
    data: str
    prepare: str
    rows: tuple[Row, ...]
    kimg: Kimg
    points: tuple[Kimg, ...]
    metrics: str
    set: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = (0,)
    published: Published = Published()

    def __post_init__(self):
        parse_metrics(self.metrics)  # or UserError
        for what, values in (
            ("row", [row.name for row in self.rows]),
            ("seed", self.seeds),
            ("point", self.points),
        ):
            if not values:
                raise UserError(f"a study needs a {what}")
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise UserError(f"the study has {what} {twice} twice")
        if list(self.points) != sorted(self.points) or self.points[-1] > self.kimg:
            raise UserError(f"points must grow, up to the study's {self.kimg:g} kimg")

    def choose(self, names: str | None, seeds: tuple[int, ...] | None) -> list["Cell"]:
        """Return what to train: the rows with these names (commas between), with all seeds."""
        rows = {row.name: row for row in self.rows}
        chosen = rows if names is None else dict.fromkeys(filter(None, names.split(",")))
        for name in chosen:
            if name not in rows:
                hint = suggest(name, rows) or f"; there are {', '.join(rows)}"
                raise UserError(f"--rows {names}: there is no row {name}{hint}")
        if not chosen:
            raise UserError(f"--rows names none; there are {', '.join(rows)}")
        pairs = itertools.product(seeds or self.seeds, chosen)
        return [Cell(rows[name], seed) for seed, name in pairs]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row with one seed: a run."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return f"{self.row.name}-seed{self.seed}"

    def assignments(self, study: Study, more: list[str]) -> list[str]:
        """Return all changes of the configuration, the strongest last."""
        points = ",".join(f"{point:g}" for point in study.points)
        return [
            *study.set,
            *self.row.set,
            *more,
            f"training.kimg={study.kimg:g}",
            f"training.seed={self.seed}",
            f"output.milestones_kimg=[{points}]",
        ]

    def check(self, study: Study, more: list[str]) -> None:
        """Raise UserError if the configuration is wrong, as far as it does not depend on data."""
        try:
            options = read_options(self.row.config, self.assignments(study, more))
            if not is_auto(options):
                from_mapping(RunConfig, options)
        except UserError as error:
            raise UserError(f"row {self.row.name}: {error}") from None


def find_study(name: str | Path) -> Path:
    """Return the path of a study file given by path or by the name of one in configs/studies."""
    for path in (Path(name), STUDIES / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    hint = suggest(str(name), known) or f"; there are {', '.join(known)}"
    raise MissingFile(f"study {name} does not exist{hint}")


def load_study(name: str | Path) -> Study:
    """Read a study file. Raises UserError that names the file and what is wrong in it."""
    path = find_study(name)
    try:
        return from_mapping(Study, read_yaml(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
