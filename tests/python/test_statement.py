"""Statements: through each way in, as data, as CSV, as a page and as PDF; of nothing, of one entry, of hostile text."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
import reportlab
from fastapi.testclient import TestClient
from pypdf import PdfReader
from test_cli import on
from test_http import OTHER, USER, backend, data, error, gift

from jointo_credits import Kind, Language, Ledger, ManualClock, Statement, StatementBalance, ValidationError
from jointo_credits._plain import as_json
from jointo_credits._statement.words import words

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
LANGUAGES = get_args(Language)
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    " =1+1",
    "＝1+1",
    'a,b;"c"\r\nd',
    "&lt;b&gt; <para><font>",
    "\u202e321-",
]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def books(url: str, clock: ManualClock) -> Iterator[Ledger]:
    with Ledger.connect(url, clock=clock) as ledger:
        ledger.migrate()
        yield ledger


def plain(found: Any) -> Any:
    """A statement as the command line prints it."""
    return json.loads(as_json(found.to_dict())) if isinstance(found, Statement) else found


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


class Page(HTMLParser):
    """A page's elements and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "bdi":
            self.cells.append(data)
            self._inside = ""


def pdf_text(document: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(document)).pages)


# --- data


def test_each_way_in_says_the_same(client: Any, user: uuid.UUID, url: str) -> None:
    client.grant(user, 500, source="purchase", reference="订单-张三")
    held = client.consume(user, "image_generation", amount=75, reference="作业-1")
    client.confirm(held.id, amount=60)
    client.refund(held.id, amount=10)
    client.consume(user, amount=5)
    since, until = EVER
    found = plain(client.statement(user, since=since, until=until))
    assert found["opening"] == {"available": 0, "held": 0}
    assert found["closing"] == found["effective"] == {"available": 445, "held": 5}
    assert found["totals"] == {"granted": 500, "taken_back": 0, "spent": 60, "refunded": 10, "expired": 0}
    assert found["features"] == [{"feature": "image_generation", "captures": 1, "spent": 60, "refunded": 10}]
    assert [each["kind"] for each in found["entries"]] == ["grant", "consume", "confirm", "reverse", "consume"]
    assert found["entries"][0]["reference"] == "订单-张三"
    with Ledger.connect(url) as ledger:
        again = plain(ledger.statement(user, since, until))
    assert {**again, "drawn_up_at": None} == {**found, "drawn_up_at": None}
    with pytest.raises(ValidationError) as refused:
        client.statement(user, since=until, until=since)
    assert refused.value.field == "until"


def test_the_interval_is_half_open(books: Ledger, clock: ManualClock, user: uuid.UUID) -> None:
    microsecond = timedelta(microseconds=1)
    for _ in range(3):
        books.gift(user, 10, reason="welcome")
        clock.advance(HOUR)

    def seqs(since: datetime, until: datetime) -> list[int]:
        found = books.statement(user, since, until)
        assert found.opening.total + found.totals.net == found.closing.total
        return [entry.seq for entry in found.entries]

    assert seqs(START, START + HOUR) == [1]
    assert seqs(START, START + HOUR + microsecond) == [1, 2]
    assert seqs(START + microsecond, START + HOUR) == []
    assert seqs(START + HOUR, START + 2 * HOUR) == [2]
    assert seqs(START + HOUR, START + HOUR) == []
    one = books.statement(user, START + HOUR, START + 2 * HOUR)
    assert (one.opening, one.closing) == (StatementBalance(10, 0), StatementBalance(20, 0))
    assert one.drawn_up_at == START + 3 * HOUR
    # Another zone's midnight is an instant like any.
    shanghai = timezone(timedelta(hours=8))
    assert seqs(datetime(2026, 1, 1, 8, tzinfo=shanghai), datetime(2026, 1, 1, 9, tzinfo=shanghai)) == [1]


def test_what_lapsed_and_is_not_written_down(books: Ledger, clock: ManualClock, user: uuid.UUID) -> None:
    books.grant(user, 100, source="purchase", expires_at=START + DAY)
    clock.advance(2 * DAY)
    found = books.statement(user, START, START + 3 * DAY)
    assert (found.closing.total, found.effective) == (100, StatementBalance(0, 0))
    for language in LANGUAGES:
        page = Page(found.to_html(language=language)).cells
        say = words(language)
        assert {say.effective, say.effective_note, say.interim} <= set(page)
    clock.advance(2 * DAY)
    books.expire_lots()
    before = books.statement(user, START, START + 3 * DAY)
    assert (before.closing, before.effective) == (found.closing, None)
    page = Page(before.to_html()).cells
    assert not {words("zh").effective, words("zh").interim} & set(page)
    assert books.statement(user, START + 3 * DAY, START + 5 * DAY).totals.expired == 100


def test_an_account_that_nobody_has_used(books: Ledger, user: uuid.UUID) -> None:
    found = books.statement(user, *EVER)
    assert (found.opening, found.closing, found.entries, found.kinds, found.features) == (
        StatementBalance(0, 0), StatementBalance(0, 0), (), (), ()
    )  # fmt: skip
    assert [row[2] for row in rows(found.to_csv())] == ["kind", "opening", "closing"]
    for language in LANGUAGES:
        nothing = words(language).no_entries
        assert nothing in Page(found.to_html(language=language)).cells
        assert nothing in pdf_text(found.to_pdf(language=language))


# --- as files


def all_kinds(books: Ledger, clock: ManualClock, user: uuid.UUID) -> Statement:
    """A statement with an entry of nearly every kind, and Chinese text."""
    grant = books.grant(user, 1_000_000, source="purchase", reference="订单-42")
    assert grant.lot is not None
    books.gift(user, 50, reason="开业赠送", expires_at=START + DAY)
    held = books.consume(user, "图片生成", amount=1_500, reference="作业-1")
    books.confirm(held.id, amount=1_234)
    books.refund(held.id, amount=34)
    books.refund(books.consume(user, amount=10).id)
    books.extend(books.consume(user, amount=20, ttl=HOUR).id, 2 * HOUR)
    books.adjust(user, -5, reason="更正")
    books.set_credit_limit(user, 100)
    books.clawback(user, grant.lot.id, amount=1_000, reason="退款")
    clock.advance(2 * DAY)
    books.expire_pending()
    books.expire_lots()
    return books.statement(user, START, START + 3 * DAY)


def test_csv_adds_up(books: Ledger, clock: ManualClock, user: uuid.UUID) -> None:
    found = all_kinds(books, clock, user)
    text = found.to_csv()
    assert text.endswith("\r\n")
    heading, opening, *entries, closing = rows(text)
    assert {len(row) for row in rows(text)} == {len(heading)}
    column = {name: at for at, name in enumerate(heading)}
    assert [int(row[column["seq"]]) for row in entries] == [entry.seq for entry in found.entries]
    for name, change in (("available", "change"), ("held", "held_change")):
        changes = sum(int(row[column[change]]) for row in entries)
        assert int(opening[column[name]]) + changes == int(closing[column[name]])
    assert opening[column["created_at"]] == "2026-01-01T00:00:00Z"
    assert entries[2][column["feature"]] == entries[3][column["feature"]] == "图片生成"
    assert entries[1][column["reason"]] == "开业赠送"
    for language in LANGUAGES:
        told = found.to_csv(language=language, bom=True)
        assert told.encode().startswith(b"\xef\xbb\xbf")
        assert rows(told)[1][2] == words(language).opening
        assert [row[3:7] for row in rows(told)[1:]] == [row[3:7] for row in rows(text)[1:]]


def test_pages_say_what_the_data_say(books: Ledger, clock: ManualClock, user: uuid.UUID) -> None:
    found = all_kinds(books, clock, user)
    for language in LANGUAGES:
        say = words(language)
        options: dict[str, Any] = {
            "language": language,
            "timezone": "Asia/Shanghai",
            "title": "一月对账单",
            "issuer": "某某公司",
            "customer": "张三",
        }
        html, pdf = found.to_html(**options), pdf_text(found.to_pdf(**options))
        cells = Page(html).cells
        expected = {
            "一月对账单", "某某公司", "张三", str(user), "开业赠送", "图片生成 · 作业-1", "订单-42",
            "2026-01-01 08:00:00", "2026-01-03 08:00:00", "+1,000,000", "-1,234", "997,845", say.net,
            f"{found.totals.net:+,}", say.interval.format(
                since="2026-01-01 08:00:00", until="2026-01-04 08:00:00", zone="Asia/Shanghai"
            ),
        }  # fmt: skip
        kinds = {say.kinds[entry.kind] for entry in found.entries}
        assert len(kinds) >= 10
        assert expected | kinds <= set(cells)
        squeezed = pdf.replace("\n", "").replace(" ", "")
        for text in expected | kinds:
            assert text.replace(" ", "") in squeezed, text
        # Figures stand right, under one another.
        assert html.count('<td class="n">') >= 5 * len(found.entries)
        assert f'<html lang="{say.tag}">' in html
        assert "@page { size: A4" in html


def test_a_zone_may_be_an_object(books: Ledger, user: uuid.UUID) -> None:
    books.gift(user, 1, reason="summer")
    found = books.statement(user, *EVER)
    for zone in ("America/New_York", ZoneInfo("America/New_York")):
        assert "2025-12-31 19:00:00" in found.to_html(timezone=zone)
    assert "2026-01-01 00:00:00" in found.to_html(timezone=UTC)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    user = uuid.UUID(int=7)
    with Ledger.connect("memory:", clock=ManualClock(START)) as ledger:
        ledger.grant(user, 100, source="purchase", reference=text)
        # A feature's name is one line; references and reasons may have any text.
        feature = text if text.isprintable() or "\u202e" in text else None
        ledger.confirm(ledger.consume(user, feature, amount=7, reference=text).id)
        ledger.gift(user, 1, reason=text)
        found = ledger.statement(user, *EVER)
    page = Page(found.to_html(title=text, issuer=text, customer=text))
    assert page.cells.count(text) >= 4
    assert {tag for tag, _ in page.elements} == {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "bdi", "table", "thead",
        "tbody", "tr", "th", "td",
    }  # fmt: skip
    allowed = {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert {name for _, attributes in page.elements for name in attributes} <= allowed

    entries = rows(found.to_csv())[2:-1]
    assert len(entries) == 4
    for cell in (entries[0][8], entries[1][7] if feature else entries[1][8], entries[3][9]):
        assert cell.removeprefix("'") == text
        assert cell.strip()[0] not in "=+-@＝"
    assert [int(row[3]) for row in entries] == [100, -7, 0, 1]

    document = pdf_text(found.to_pdf(title=text, issuer=text, customer=text))
    wanted = "".join(text.replace("\u202e", "").split())
    assert document.replace("\u202e", "").replace("\n", "").replace(" ", "").replace("\t", "").count(wanted) >= 4


def test_every_word_is_there() -> None:
    for language in LANGUAGES:
        say = words(language)
        assert set(say.kinds) == set(get_args(Kind))
        assert all(say.kinds.values())
        assert all(getattr(say, name) for name in say.__slots__)
        assert say.interval.count("{") == 3


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("language", {"language": "fr"}),
        ("language", {"language": None}),
        ("timezone", {"timezone": "Mars/Olympus"}),
        ("timezone", {"timezone": "../etc/passwd"}),
        ("timezone", {"timezone": ""}),
        ("timezone", {"timezone": "America"}),
        ("timezone", {"timezone": 8}),
        ("font", {"font": "/nowhere/font.ttf"}),
        ("font", {"font": __file__}),
    ],
)
def test_what_can_be_no_page(field: str, options: dict[str, Any]) -> None:
    with Ledger.connect("memory:") as ledger:
        found = ledger.statement(uuid.UUID(int=1), *EVER)
    ways = [found.to_pdf] if field == "font" else [found.to_html, found.to_pdf]
    for way in ways:
        with pytest.raises(ValidationError) as refused:
            way(**options)
        assert refused.value.field == field
        assert refused.value.limit


def test_a_long_pdf_has_pages() -> None:
    user = uuid.UUID(int=1)
    with Ledger.connect("memory:", clock=ManualClock(START)) as ledger:
        ledger.grant(user, 2**53 - 1, source="purchase")
        items: list[Any] = [{"user_id": user, "amount": 1, "reference": f"作业-{n}"} for n in range(600)]
        ledger.consume_many(items)
        found = ledger.statement(user, *EVER)
    document = found.to_pdf(issuer="某某公司")
    reader = PdfReader(io.BytesIO(document))
    assert len(reader.pages) > 10
    assert reader.metadata is not None
    assert (reader.metadata.title, reader.metadata.author) == (words("zh").title, "某某公司")
    for number, page in enumerate(reader.pages, 1):
        text = page.extract_text()
        assert words("zh").page.format(number=number) in text
        assert words("zh").available_change in text  # the headings stand on every page
        box = page.mediabox
        assert (round(float(box.width)), round(float(box.height))) == (595, 842)
    text = pdf_text(document)
    for n in (0, 499, 599):
        assert f"作业-{n}\n" in text
    assert "+9,007,199,254,740,991" in text


def test_a_font_is_embedded() -> None:
    font = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
    with Ledger.connect("memory:", clock=ManualClock(START)) as ledger:
        found = ledger.statement(uuid.UUID(int=1), *EVER)
    document = found.to_pdf(language="en", title="Of January", font=font)
    reader = PdfReader(io.BytesIO(document))
    fonts: Any = reader.pages[0]["/Resources"]["/Font"]  # type: ignore[index]
    assert any("/FontFile2" in each.get_object().get("/FontDescriptor", {}) for each in fonts.values())
    assert "Of January" in pdf_text(document)


def test_without_reportlab() -> None:
    program = """import sys
class Absent:
    def find_spec(self, name, *more):
        if name.partition(".")[0] == "reportlab":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
from datetime import datetime, UTC
from jointo_credits import Ledger
found = Ledger.connect("memory:").statement(
    "00000000-0000-0000-0000-000000000001", datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
)
assert found.to_html() and found.to_csv()
try:
    found.to_pdf()
except ModuleNotFoundError as missing:
    print(missing)"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'jointo-credits[pdf]'" in ran.stdout


# --- the command line


def test_the_command_writes_each_format(url: str, books: Ledger, user: uuid.UUID, tmp_path: Path) -> None:
    run = on(url)
    books.grant(user, 500, source="purchase", reference="订单-张三")
    books.confirm(books.consume(user, "image", amount=75).id)
    asked = ["statement", user, "--since", "2026-01-01", "--until", "2026-02-01"]
    table = run(*asked).stdout
    assert all(text in table for text in ("订单-张三", "taken back", "deadlines counted", "opening", "425", "image"))
    found = json.loads(run(*asked, "--json").stdout)
    assert found == json.loads(run(*asked, "--format", "json").stdout) | {"drawn_up_at": found["drawn_up_at"]}
    assert found["closing"] == {"available": 425, "held": 0}
    statement = books.statement(user, START, START + 31 * DAY)
    assert rows(run(*asked, "--format", "csv").stdout) == rows(statement.to_csv())
    page = run(
        *asked, "--format", "html", "--language", "en", "--timezone", "Asia/Shanghai", "--issuer", "A & B"
    ).stdout
    assert {"Credit statement", "A & B", "2026-01-01 08:00:00"} <= set(Page(page).cells)
    for form, begins in (("csv", "\ufeff序号".encode()), ("html", b"<!DOCTYPE"), ("pdf", b"%PDF-"), ("json", b"{")):
        file = tmp_path / f"statement.{form}"
        said = run(*asked, "--format", form, "--output", file, "--language", "zh", "--bom").stdout
        assert "3 entries written to" in said.replace("\n", " ")
        assert file.read_bytes().startswith(begins)
    # Until now: nothing of the test's clock is later.
    assert json.loads(run("statement", user, "--since", "2026-01-01", "--json").stdout)["totals"]["spent"] == 75


def test_the_command_refuses(url: str, books: Ledger, user: uuid.UUID, tmp_path: Path) -> None:
    run = on(url)
    since = ["statement", user, "--since", "2026-01-01"]
    assert "--since" in run("statement", user, code=2).stderr
    assert "--output" in run(*since, "--format", "pdf", code=2).stderr
    assert "--format" in run(*since, "--output", tmp_path / "x", code=2).stderr
    assert "until" in run(*since, "--until", "2025-01-01", code=2).stderr
    assert "timezone" in run(*since, "--format", "html", "--timezone", "Mars/Olympus", code=2).stderr
    output = ["--format", "pdf", "--output", tmp_path / "x.pdf", "--font", tmp_path / "none.ttf"]
    assert "font" in run(*since, *output, code=2).stderr
    assert books.statement(user, *EVER).entries == ()


# --- over HTTP


def test_users_get_their_own(url: str) -> None:
    with TestClient(backend(url, statement_issuer="某某公司 <b>")) as http:
        mia = uuid.UUID(USER["x-user"])
        gift(http, mia, 100)
        gift(http, uuid.UUID(OTHER["x-user"]), 7)
        asked = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00+08:00"}
        found = data(http.get("/credits/statement", headers=USER, params=asked))
        assert (found["userId"], found["until"]) == (str(mia), "2099-12-31T16:00:00Z")
        assert (found["closing"], found["totals"]["takenBack"], found["totals"]["net"]) == (
            {"available": 100, "held": 0, "total": 100}, 0, 100
        )  # fmt: skip
        assert [each["reason"] for each in found["entries"]] == ["开业"]
        assert "operator" not in found["entries"][0]
        assert found["kinds"] == [{"kind": "gift", "entries": 1, "change": 100, "heldChange": 0}]

        answer = http.get("/credits/statement", headers=USER, params={**asked, "format": "csv", "language": "zh"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == 'attachment; filename="statement-2020-01-01-2099-12-31.csv"'
        assert answer.content.startswith("\ufeff序号".encode())
        assert [row[5] for row in rows(answer.text)[1:]] == ["0", "100", "100"]

        page = http.get(
            "/credits/statement", headers=USER, params={**asked, "format": "html", "timezone": "Asia/Shanghai"}
        )
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-disposition"].endswith('.html"')
        assert {"某某公司 <b>", "积分对账单", "+100", "开业"} <= set(Page(page.text).cells)

        assert error(http.get("/credits/statement", params=asked), 401)
        assert error(http.get("/credits/statement", headers=USER), 422)["field"] == "since"
        for wrong, field in (
            ({"until": "2019-01-01T00:00:00Z"}, "until"),
            ({"since": "2026-01-01T00:00:00"}, "since"),
            ({"format": "html", "timezone": "Mars/Olympus"}, "timezone"),
            ({"format": "xlsx"}, "format"),
        ):
            told = error(http.get("/credits/statement", headers=USER, params={**asked, **wrong}), 422)
            assert told["field"] == field
