"""Ranges of numbers that users give: as the type of an argparse option, or to check any value.

    parser.add_argument("--columns", type=WholeNumber(1))  # "--columns 0: use a whole ..."
    WholeNumber(1).check(value, name="training.batch_size")

Everything is checked before anything is written; nan and infinity are never numbers here.
"""

import argparse
import math
from dataclasses import dataclass
from typing import Annotated

from dnnlib.errors import UserError

LARGEST_SEED = 2**63 - 1


class _Range:
    """Called with a text, it is the type of an argparse option."""

    def __call__(self, text: str) -> int | float:
        """Return the number that `text` says; argparse.ArgumentTypeError if it is none of these."""
        try:
            value = self._parse(text.strip())
        except (ValueError, OverflowError):
            value = None
        if value is None or not self.holds(value):
            raise argparse.ArgumentTypeError(f"{text}: {self.wanted}")
        return value

    def check(self, value: object, *, name: str) -> None:
        """Raise a `UserError` that begins with `name` unless `value` is such a number."""
        if not self.holds(value):
            raise UserError(f"{name} {value}: {self.wanted}")


@dataclass(frozen=True)
class WholeNumber(_Range):
    """Whole numbers from `low` to `high`, both included; None: without a limit."""

    low: int | None = None
    high: int | None = None

    def holds(self, value: object) -> bool:
        """Say whether `value` is an int of the range (True and False are not)."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        low_enough = self.high is None or value <= self.high
        return low_enough and (self.low is None or value >= self.low)

    @property
    def wanted(self) -> str:
        """What to use, for messages."""
        return f"use a whole number{_describe(self.low, self.high)}"

    @staticmethod
    def _parse(text: str) -> int:
        return int(text)


@dataclass(frozen=True)
class FiniteNumber(_Range):
    """Finite numbers from `low` to `high`, both included, and greater than `above`."""

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def holds(self, value: object) -> bool:
        """Say whether `value` is a finite int or float of the range."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        try:
            is_finite = math.isfinite(value)
        except OverflowError:  # a whole number too large for a float
            return False
        return (
            is_finite
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    @property
    def wanted(self) -> str:
        """What to use, for messages."""
        if self.above is not None:
            most = "" if self.high is None else f", {self.high:.12g} at most"
            return f"use a number greater than {self.above:.12g}{most}"
        limits = _describe(self.low, self.high)
        return f"use a number{limits}" if limits else "use a finite number"

    @staticmethod
    def _parse(text: str) -> float:
        return float(text)


def _describe(low: float | None, high: float | None) -> str:
    texts = [f"{end:.12g}" if isinstance(end, float) else f"{end}" for end in (low, high)]
    if low is None:
        return "" if high is None else f" of at most {texts[1]}"
    return f" of at least {texts[0]}" if high is None else f" from {texts[0]} to {texts[1]}"


positive_int = WholeNumber(1)
seed = WholeNumber(0, LARGEST_SEED)
fraction = FiniteNumber(0, 1)
finite_float = FiniteNumber()
positive_float = FiniteNumber(above=0)

# Types of the fields of configurations, see dnnlib.config. More than LARGEST is a mistake.
LARGEST = 10**9
Count = Annotated[int, WholeNumber(1, LARGEST)]
CountOrZero = Annotated[int, WholeNumber(0, LARGEST)]
Seed = Annotated[int, seed]
Positive = Annotated[float, FiniteNumber(above=0, high=LARGEST)]
PositiveOrZero = Annotated[float, FiniteNumber(0, LARGEST)]
Finite = Annotated[float, FiniteNumber(-LARGEST, LARGEST)]
Fraction = Annotated[float, fraction]
