"""A statement as PDF, by ReportLab.

Without a font of the caller's, Chinese is written in ``STSong-Light``, which the file names and does not contain: it is
one of those that stand for "the reader's own Chinese font" (collection Adobe-GB1). So nothing has to be shipped or
installed to write it, and an entry takes some 80 bytes; but a reader on a system without any Chinese font shows gaps. A
font that is given is embedded, as far as it is used.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from xml.sax.saxutils import escape

try:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFError, TTFont
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Flowable, LongTable, Paragraph, SimpleDocTemplate, TableStyle
except ModuleNotFoundError as missing:
    if missing.name != "reportlab":
        raise
    hint = "to_pdf() needs ReportLab: pip install 'jointo-credits[pdf]'"
    raise ModuleNotFoundError(hint, name=missing.name) from None

from .._errors import ValidationError
from .view import Line, View

#: A font of the reader's.
_CHINESE = "STSong-Light"
#: Figures only: every reader has it, and knows how wide each digit is.
_FIGURES = "Helvetica"
_MARGIN = 14 * mm
_WIDTH = A4[0] - 2 * _MARGIN
#: Entries in one table: ReportLab takes ever longer for longer ones.
_LINES = 500

_GREY, _RULE, _BLACK = HexColor(0x666666), HexColor(0xD9D9D9), HexColor(0)


@dataclass(frozen=True, slots=True)
class Styles:
    """How text looks, in a font."""

    font: str
    text: ParagraphStyle
    small: ParagraphStyle
    note: ParagraphStyle
    title: ParagraphStyle
    heading: ParagraphStyle

    @classmethod
    def of(cls, font: str) -> Styles:
        text = ParagraphStyle("text", fontName=font, fontSize=9, leading=12, wordWrap="CJK")
        heading = ParagraphStyle("heading", parent=text, fontSize=11, leading=14, spaceBefore=12, spaceAfter=3)
        heading.keepWithNext = 1
        return cls(
            font=font,
            text=text,
            small=ParagraphStyle("small", parent=text, fontSize=7.5, leading=9.5),
            note=ParagraphStyle("note", parent=text, fontSize=8, leading=11, textColor=_GREY, spaceBefore=4),
            title=ParagraphStyle("title", parent=text, fontSize=17, leading=22, spaceAfter=8),
            heading=heading,
        )


def _register(font: str | os.PathLike[str] | None) -> str:
    """A font's name, by which ReportLab knows it from now on.

    Raises:
        ValidationError: The file is no TrueType font.
    """
    if font is None:
        pdfmetrics.registerFont(UnicodeCIDFont(_CHINESE))  # pyright: ignore[reportUnknownMemberType]
        return _CHINESE
    name = f"statement:{os.fspath(font)}"
    try:
        pdfmetrics.registerFont(TTFont(name, os.fspath(font)))  # pyright: ignore[reportUnknownMemberType]
    except TTFError as error:
        problem, value = f"can't be used: {error}", str(font)[:80]
        raise ValidationError(
            f"font: {problem} (got {value})",
            field="font",
            problem=problem,
            limit="the path of a TrueType font (.ttf)",
            value=value,
        ) from None
    return name


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(text), style)


def _table(
    heading: Sequence[str],
    rows: Iterable[Sequence[str | Paragraph]],
    widths: Sequence[float],
    *,
    font: str,
    figures_from: int,
    size: float = 9,
    sum_line: bool = False,
) -> LongTable:
    """A table whose columns from one on are figures. `widths` are parts of the page's."""
    all_cells = (0, 0), (-1, -1)
    style = TableStyle(
        [
            ("FONT", *all_cells, font, size),
            ("FONT", (figures_from, 1), (-1, -1), _FIGURES, size),
            ("ALIGN", (figures_from, 0), (-1, -1), "RIGHT"),
            ("VALIGN", *all_cells, "TOP"),
            ("LEFTPADDING", *all_cells, 3),
            ("RIGHTPADDING", *all_cells, 3),
            ("TOPPADDING", *all_cells, 2),
            ("BOTTOMPADDING", *all_cells, 3),
            ("LINEBELOW", *all_cells, 0.4, _RULE),
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, _BLACK),
        ]
    )
    if sum_line:
        style.add("LINEABOVE", (0, -1), (-1, -1), 0.8, _BLACK)
    share = _WIDTH / sum(widths)
    return LongTable(
        [list(heading), *map(list, rows)], colWidths=[width * share for width in widths], repeatRows=1, style=style
    )


def _entries(view: View, look: Styles) -> Iterator[Flowable]:
    say = view.words
    heading = [
        say.number, say.time, say.kind, say.subject, say.available_change, say.held_change, say.available, say.held
    ]  # fmt: skip

    def figures(line: Line) -> list[str]:
        return [line.change, line.held_change, line.available, line.held]

    def row(line: Line) -> list[str | Paragraph]:
        subject = _text(line.subject, look.small) if line.subject else ""
        return [line.number, line.time, line.kind, subject, *figures(line)]

    # A figure is not wrapped: as many digits as there are have to fit.
    longest = max(len(figure) for line in view.lines() for figure in figures(line))
    size = min(7.5, 7.5 * 13 / longest)
    lines = map(row, view.lines())
    while some := list(islice(lines, _LINES)):
        yield _table(heading, some, [7, 17, 14, 23, 12, 12, 12, 12], font=look.font, figures_from=4, size=size)


def _story(view: View, look: Styles) -> Iterator[Flowable]:
    say = view.words
    yield _text(view.title, look.title)
    for label, value in view.facts:
        yield Paragraph(f'<font color="#666666">{escape(label)}</font>&nbsp;&nbsp;{escape(value)}', look.text)
    yield _text(say.balance, look.heading)
    heading = ["", say.available, say.held, say.total]
    yield _table(heading, view.balances, [4, 2, 2, 2], font=look.font, figures_from=1)
    for note in view.notes:
        yield _text(note, look.note)
    yield _text(say.changes, look.heading)
    yield _table(["", say.total], view.changes, [8, 2], font=look.font, figures_from=1, sum_line=True)
    if view.is_empty:
        yield _text(say.no_entries, look.note)
        return
    yield _text(say.by_kind, look.heading)
    heading = [say.kind, say.count, say.available_change, say.held_change]
    yield _table(heading, view.kinds, [4, 2, 2, 2], font=look.font, figures_from=1)
    if view.features:
        yield _text(say.by_feature, look.heading)
        heading = [say.feature, say.captures, say.spent, say.refunded]
        rows = ((_text(feature, look.text), charges, spent, back) for feature, charges, spent, back in view.features)
        yield _table(heading, rows, [4, 2, 2, 2], font=look.font, figures_from=1)
    yield _text(say.entries, look.heading)
    yield from _entries(view, look)


def to_pdf(view: View, font: str | os.PathLike[str] | None) -> bytes:
    """See `Statement.to_pdf`."""
    look = Styles.of(_register(font))
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=16 * mm,
        bottomMargin=18 * mm,
        title=view.title,
        author=view.issuer,
        lang=view.words.tag,
    )

    def number(canvas: Canvas, _: object) -> None:
        canvas.setFont(look.font, 8)
        canvas.setFillColor(_GREY)
        text = view.words.page.format(number=canvas.getPageNumber())
        canvas.drawRightString(A4[0] - _MARGIN, 10 * mm, text)

    document.build(list(_story(view, look)), onFirstPage=number, onLaterPages=number)
    return file.getvalue()


__all__ = ["to_pdf"]
