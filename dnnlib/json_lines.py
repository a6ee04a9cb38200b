"""Files with one JSON object a line, to which is only ever appended."""

import json
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file, none if there is no file.

    A last line without its end is left out: its writer was killed, or is writing it now.
    """
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole if line]


def cut_partial_line(path: Path) -> None:
    """Cut off a last line without its end. Call before appending, when no one else writes."""
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with open(path, "r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Append one object."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
