"""Errors that a user can act on."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can put right.

    The message is one line that says what is wrong and what to do; scripts print it without a
    traceback and end with exit status 2.
    """


class MissingFile(UserError, FileNotFoundError):
    """A path that does not exist."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the known name nearest to `name`, or an empty string.

    The nearest is the only one that begins with `name`, else the one with most letters in common.
    """
    known = list(known)
    longer = [other for other in known if other.startswith(name)] if name.strip("-") else []
    nearest = longer if len(longer) == 1 else difflib.get_close_matches(name, known, 1, 0.5)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
