"""A document of paragraphs, tables, charts and images, written as HTML and as Markdown."""

import base64
import dataclasses
import html
import io
from pathlib import Path

import numpy as np
from PIL import Image

from dnnlib.files import atomic_file

STYLE = """
body{margin:0 auto;max-width:1180px;padding:0 16px 48px;color:#222;background:#fff;
  font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.7em;line-height:1.2;margin:1em 0 .4em}
h2{font-size:1.25em;margin:2em 0 .4em;padding-top:.4em;border-top:1px solid #ddd}
p{max-width:46em;margin:.5em 0}
.scroll{overflow-x:auto;margin:.6em 0 1.2em}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3em 0}
th,td{padding:.3em .7em;text-align:right;border-bottom:1px solid #e4e4e4;vertical-align:top}
th{background:#f5f5f5;font-weight:600}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}
th:first-child{background:#f5f5f5}
.numbers th,.numbers td{white-space:nowrap}
.text th,.text td{text-align:left}
.images td,.images th{text-align:center;padding:.25em;white-space:nowrap}
.images img{display:block;width:212px}
@media(max-width:600px){.images img{width:150px}th,td{padding:.3em .5em}}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:12px}
.charts svg{width:100%;height:auto;display:block}
code{font-size:.92em;overflow-wrap:anywhere}
"""


@dataclasses.dataclass(frozen=True)
class Strong:
    """Text that stands out in a table."""

    text: str


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image uint8 [H, W, 3] with a name for its file, and what it shows."""

    name: str
    shows: str
    pixels: np.ndarray


Cell = str | Strong | Picture


@dataclasses.dataclass(frozen=True)
class Table:
    """kind: "numbers", "text" or "images"."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    kind: str = "numbers"


@dataclasses.dataclass(frozen=True)
class Chart:
    """An SVG with a name for its file."""

    name: str
    caption: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    title: str
    parts: list[str | Table | Chart]


def write_html(path: Path, title: str, sections: list[Section]) -> None:
    """Write one file that needs no other."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        if section.title:
            body.append(f"<h2>{html.escape(section.title)}</h2>")
        charts = [f"<div>{part.svg}</div>" for part in section.parts if isinstance(part, Chart)]
        if charts:
            body.append(f'<div class="charts">{"".join(charts)}</div>')
        for part in section.parts:
            if isinstance(part, str):
                body.append(f"<p>{html.escape(part)}</p>")
            elif isinstance(part, Table):
                body.append(_html_table(part))
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    with atomic_file(path, "w") as file:
        file.write(page)


def write_markdown(path: Path, title: str, sections: list[Section], images: str) -> None:
    """Write a file, and charts and images into the folder `images` beside it."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""] if section.title else []
        for part in section.parts:
            if isinstance(part, str):
                lines += [part, ""]
            elif isinstance(part, Chart):
                name = f"{images}/{part.name}.svg"
                with atomic_file(path.parent / name, "w") as file:
                    file.write(part.svg)
                lines += [f"![{part.caption}]({name})", ""]
            else:
                lines += [*_markdown_table(part, path.parent, images), ""]
    with atomic_file(path, "w") as file:
        file.write("\n".join(lines).rstrip() + "\n")


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_html_cell(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="scroll"><table class="{table.kind}">{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _html_cell(cell: Cell) -> str:
    if isinstance(cell, Strong):
        return f"<strong>{html.escape(cell.text)}</strong>"
    if isinstance(cell, Picture):
        content = base64.b64encode(_encode(cell.pixels, "webp", quality=88)).decode()
        shows = html.escape(cell.shows)
        return f'<img alt="{shows}" title="{shows}" src="data:image/webp;base64,{content}">'
    return html.escape(cell)


def _markdown_table(table: Table, directory: Path, images: str) -> list[str]:
    lines = [f"**{table.caption}**", ""] if table.caption else []
    side = {"numbers": "---:"}.get(table.kind, "---")
    lines.append("| " + " | ".join(table.head) + " |")
    lines.append("|" + "|".join(["---", *[side] * (len(table.head) - 1)]) + "|")
    for row in table.rows:
        lines.append("| " + " | ".join(_markdown_cell(c, directory, images) for c in row) + " |")
    return lines


def _markdown_cell(cell: Cell, directory: Path, images: str) -> str:
    if isinstance(cell, Strong):
        return f"**{cell.text}**"
    if isinstance(cell, Picture):
        name = f"{images}/{cell.name}.png"
        with atomic_file(directory / name) as file:
            file.write(_encode(cell.pixels, "png", optimize=True))
        return f"![{cell.shows}]({name})"
    return cell.replace("|", "\\|")


def _encode(pixels: np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()
