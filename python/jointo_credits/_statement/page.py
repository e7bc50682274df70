"""A statement as HTML: one file for the printer. Whatever is not written here goes through `_text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from .view import View

_STYLE = """
@page { size: A4; margin: 16mm 14mm 18mm;
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 8pt; } }
* { box-sizing: border-box; }
html { color-scheme: light; }
body { margin: 0 auto; max-width: 182mm; padding: 4mm 0; background: #fff; color: #1a1a1a; font: 9.5pt/1.45
  "Helvetica Neue", Arial, "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
@media print { body { padding: 0; max-width: none; } }
h1 { margin: 0 0 4mm; font-size: 17pt; }
h2 { margin: 6mm 0 1.5mm; font-size: 11pt; break-after: avoid; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.6mm 5mm; margin: 0; }
dt { color: #666; }
dd { margin: 0; overflow-wrap: anywhere; }
p { margin: 1.5mm 0; color: #555; font-size: 8.5pt; }
table { width: 100%; border-collapse: collapse; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th, td { padding: 0.9mm 1.6mm; border-bottom: 0.2mm solid #d9d9d9; text-align: left; vertical-align: top; }
th { border-bottom: 0.35mm solid #1a1a1a; font-weight: 600; }
td { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.t { white-space: nowrap; }
.sum tr:last-child td { border-top: 0.35mm solid #1a1a1a; font-weight: 600; }
.entries { font-size: 8pt; }
"""


def _text(text: str) -> str:
    """Escaped, and kept apart: text that runs from right to left must not turn the figures beside it around."""
    return f"<bdi>{escape(text, quote=True)}</bdi>"


def _row(cells: Iterable[str], classes: Sequence[str], tag: str = "td") -> str:
    written = (
        f'<{tag} class="{name}">{_text(cell)}</{tag}>' if name else f"<{tag}>{_text(cell)}</{tag}>"
        for cell, name in zip(cells, classes, strict=True)
    )
    return f"<tr>{''.join(written)}</tr>\n"


def _table(
    heading: Sequence[str], rows: Iterable[Iterable[str]], classes: Sequence[str], name: str = ""
) -> Iterator[str]:
    yield f'<table class="{name}">\n<thead>{_row(heading, classes, "th")}</thead>\n<tbody>\n'
    for row in rows:
        yield _row(row, classes)
    yield "</tbody>\n</table>\n"


def _parts(view: View) -> Iterator[str]:
    say = view.words
    yield f'<!DOCTYPE html>\n<html lang="{say.tag}">\n<head>\n<meta charset="utf-8">\n'
    # Should anything slip through nevertheless: it loads nothing and runs nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{escape(view.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    yield f"<h1>{_text(view.title)}</h1>\n<dl>\n"
    for label, value in view.facts:
        yield f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>\n"
    yield "</dl>\n"
    yield f"<h2>{_text(say.balance)}</h2>\n"
    yield from _table(["", say.available, say.held, say.total], view.balances, ["", "n", "n", "n"])
    for note in view.notes:
        yield f"<p>{_text(note)}</p>\n"
    yield f"<h2>{_text(say.changes)}</h2>\n"
    yield from _table(["", say.total], view.changes, ["", "n"], "sum")
    if view.is_empty:
        yield f"<p>{_text(say.no_entries)}</p>\n"
    else:
        yield f"<h2>{_text(say.by_kind)}</h2>\n"
        heading = [say.kind, say.count, say.available_change, say.held_change]
        yield from _table(heading, view.kinds, ["", "n", "n", "n"])
        if view.features:
            yield f"<h2>{_text(say.by_feature)}</h2>\n"
            heading = [say.feature, say.captures, say.spent, say.refunded]
            yield from _table(heading, view.features, ["", "n", "n", "n"])
        yield f"<h2>{_text(say.entries)}</h2>\n"
        heading = [
            say.number, say.time, say.kind, say.subject, say.available_change, say.held_change, say.available, say.held
        ]  # fmt: skip
        lines = (
            (line.number, line.time, line.kind, line.subject, line.change, line.held_change, line.available, line.held)
            for line in view.lines()
        )
        yield from _table(heading, lines, ["n", "t", "t", "", "n", "n", "n", "n"], "entries")
    yield "</body>\n</html>\n"


def to_html(view: View) -> str:
    """See `Statement.to_html`."""
    return "".join(_parts(view))


__all__ = ["to_html"]
