"""The command line: what it prints, what it exits with, what it refuses."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import sqlite3
import struct
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from jointo_credits import Ledger

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(url: str) -> Run:
    """Runs the command line on a database with its tables and the catalogue."""
    with Ledger.connect(url) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
    return on(url)


def on(url: str | None) -> Run:
    def run(*arguments: Any, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "JOINTO_CREDITS_URL"}
        if url is not None:
            environment["JOINTO_CREDITS_URL"] = url
        ran = subprocess.run(
            [sys.executable, "-m", "jointo_credits.cli", *map(str, arguments)],
            env={**environment, "COLUMNS": "200", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    return run


def test_a_database_from_nothing(url: str, user: uuid.UUID) -> None:
    run = on(url)
    assert "up to date" in run("migrate").stdout
    assert json.loads(run("seed", "--json").stdout) == {"packages": 4, "rate_cards": 10}
    run("grant", user, 100, "--source", "purchase")
    assert "available" in run("balance", user).stdout
    assert json.loads(run("balance", user, "--json").stdout)["available"] == 100
    assert "图片生成" in run("quote", "image_generation", "--quantity", 2, "--attribute", "quality=hd").stdout
    priced = run(
        "quote", "text_processing", "--quantity", "input_tokens=1200", "--quantity", "output_tokens=700", "--json"
    )
    assert json.loads(priced.stdout)["credits"] > 0
    held = json.loads(run("consume", user, "image_generation", "--quantity", 2, "--json").stdout)
    run("confirm", held["id"])
    assert "purchase" in run("explain", held["id"]).stdout
    assert "confirm" in run("transactions", user).stdout
    assert held["id"] in run("consumption", user).stdout
    assert json.loads(run("expire", "--json").stdout) == {"holds": 0, "released": 0, "lots": 0, "expired": 0}
    assert "everything fits" in run("verify").stdout
    assert json.loads(run("trial-balance", "--json").stdout)["total"] == 0


def test_export_is_the_whole_statement(run: Run, url: str, user: uuid.UUID, tmp_path: Path) -> None:
    with Ledger.connect(url) as ledger:
        for n in range(5):
            ledger.grant(user, 10, source="gift", reference=f'a "quoted", line\nwith two\n{n}')
    file = tmp_path / "statement.csv"
    run("export", user, "--output", file)
    with open(file, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["seq"] for row in rows] == ["5", "4", "3", "2", "1"]
    assert rows[0]["reference"].endswith("with two\n4")
    assert {row["change"] for row in rows} == {"10"}
    lines = run("export", user, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["available"] for line in lines] == [50, 40, 30, 20, 10]


def test_gifts_from_a_file_are_given_once(run: Run, tmp_path: Path) -> None:
    users = [uuid.uuid4() for _ in range(50)]
    file = tmp_path / "gifts.csv"
    lines = [f"{user},{n}" for n, user in enumerate(users, 1)] + [f"{users[0]},1"]  # the same line twice is two gifts
    file.write_text("user_id,amount\n" + "\n".join(lines))
    command = ["gift", "--csv", file, "--batch", "autumn", "--reason", "festival", "--json"]
    for _ in range(2):
        assert json.loads(run(*command).stdout) == {"gifts": 51, "accounts": 50, "credits": sum(range(51)) + 1}
    assert json.loads(run("trial-balance", "--json").stdout)["available"] == sum(range(51)) + 1
    run(*[part if part != "autumn" else "winter" for part in command])
    assert json.loads(run("balance", users[0], "--json").stdout)["available"] == 4


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no column user_id"),
        ("user_id,amount\n", "lists nobody"),
        ("user_id,amount,colour\n{0},5,red", "unknown column colour"),
        ("user_id,amount\nsomebody,5", "line 2: user_id is no UUID"),
        ("user_id,amount\n{0},5\n{1},-5", "line 3: amount must be a whole number"),
        ("user_id,amount\n{0},5.5", "line 2: amount must be"),
        ("user_id,amount\n{0}", "line 2: has more or fewer cells"),
        ("user_id,amount,expires_at\n{0},5,soon", "line 2: expires_at is no time"),
        ("user_id,amount,key\n{0},5,a\n{0},6,a", "twice with the same key"),
        ("user_id,amount,amount\n{0},5,500", "the column amount is there 2 times"),
        ('user_id,amount,reason\n{0},5,"abc\n{1},6,x', "line 2: is no CSV: a quote is missing"),
        ('user_id,amount,reason\n{0},5,"abc\n{1},6,x"\n', "line 2: is no CSV: a quote is missing"),
        ('user_id,amount,reason\n{0},5,x\n{1},6,"abc', "line 3: is no CSV: a quote is missing"),
        ('user_id,amount,reason\n{0},5,"a"b', "line 2: is no CSV"),
        ("user_id,amount\n{0},5" + " " * 70_000, "line 2: is longer than"),
        ("user_id,amount\n{0}," + "9" * 5000, "line 2: amount must be"),
        ("user_id,amount,key\n{0},5," + "k" * 300, "a key of more than 255 bytes"),
        ("user_id,amount,expires_at\n{0},5,2020-01-01", "expires_at must lie ahead"),
    ],
)
def test_a_faulty_file_changes_nothing(run: Run, tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "gifts.csv"
    file.write_text(text.format(uuid.uuid4(), uuid.uuid4()))
    assert fault in run("gift", "--csv", file, "--batch", "b", "--reason", "r", code=2).stderr
    assert json.loads(run("trial-balance", "--json").stdout)["counter_accounts"] == {}


def test_the_same_gifts_written_otherwise(run: Run, tmp_path: Path) -> None:
    user = uuid.uuid4()
    file = tmp_path / "gifts.csv"
    command = ["gift", "--csv", file, "--batch", "autumn", "--reason", "festival"]
    for text in (
        "user_id,amount,expires_at\n{0},100,2099-01-01\n",
        "user_id,amount,expires_at\r\n{1},0100,2099-01-01T08:00:00+08:00\r\n",
        "\ufeffamount,user_id,expires_at,key\n100,{0},2099-01-01T00:00:00Z,\n\n",
    ):
        file.write_text(text.format(user, str(user).upper()), encoding="utf-8", newline="")
        run(*command)
    assert json.loads(run("balance", user, "--json").stdout)["available"] == 100
    file.write_bytes(b"user_id,amount,reason\n" + f"{user},5,节日\n".encode("gbk"))
    assert "not UTF-8" in run(*command, code=2).stderr


def test_what_users_wrote_is_shown_as_it_is(run: Run, url: str, user: uuid.UUID) -> None:
    with Ledger.connect(url) as ledger:
        for reference in ("x\\[/red]", "[bold]order[/bold]", "order:100:x", "\x1b[31mred"):
            ledger.grant(user, 1, source="gift", reference=reference)
    shown = run("transactions", user).stdout
    for text in ("x\\[/red]", "[bold]order[/bold]", "order:100:x", "\ufffd[31mred"):
        assert text in shown


def test_balances_of_another_system(run: Run, tmp_path: Path) -> None:
    users = [uuid.uuid4() for _ in range(20)]
    file = tmp_path / "balances.csv"
    file.write_text(
        "user_id,balance,reference\n" + "\n".join(f"{user},{n * 10},old" for n, user in enumerate(users, 1))
    )
    assert "2,100 credits" in run("import-balances", file).stdout
    assert json.loads(run("trial-balance", "--json").stdout)["available"] == 0
    assert "needs --expect-total" in run("import-balances", file, "--apply", code=2).stderr
    assert "2100" in run("import-balances", file, "--apply", "--expect-total", 2000, code=6).stderr
    assert json.loads(run("trial-balance", "--json").stdout)["available"] == 0
    for _ in range(2):
        told = json.loads(run("import-balances", file, "--apply", "--expect-total", 2100, "--json").stdout)
        assert told == {
            "accounts": 20, "lots": 20, "credits": 2100, "applied": True, "opening_balances_in_the_books": 2100,
        }  # fmt: skip
    # An account has one opening balance: another one is refused, and says for whom.
    file.write_text(f"user_id,balance\n{users[0]},10\n{users[1]},999")
    refused = run("import-balances", file, "--apply", "--expect-total", 1009, code=3)
    assert "line 2" in refused.stderr or "line 3" in refused.stderr
    assert json.loads(run("trial-balance", "--json").stdout)["available"] == 2100


def test_balances_of_nothing_and_of_several_lots(run: Run, tmp_path: Path) -> None:
    rich, poor = uuid.uuid4(), uuid.uuid4()
    file = tmp_path / "balances.csv"
    lots = [f"{rich},100,2099-01-01,a", f"{rich},50,2098-01-01,b", f"{rich},50,,", f"{poor},0,,"]
    for order in (lots, lots[::-1]):  # a file in another order is the same file
        file.write_text("\n".join(["user_id,balance,expires_at,reference", *order]))
        told = json.loads(run("import-balances", file, "--apply", "--expect-total", 200, "--json").stdout)
        assert told == {
            "accounts": 2, "lots": 3, "credits": 200, "applied": True, "opening_balances_in_the_books": 200,
        }  # fmt: skip
    assert [lot["amount"] for lot in json.loads(run("balance", rich, "--json").stdout)["expiring"]] == [50, 100]
    assert json.loads(run("balance", poor, "--json").stdout)["seq"] == 0
    # A lot that says something else now is refused, and not granted besides.
    lots[1] = f"{rich},60,2098-01-01,b"
    file.write_text("\n".join(["user_id,balance,expires_at,reference", *lots]))
    run("import-balances", file, "--apply", "--expect-total", 210, code=3)
    assert json.loads(run("balance", rich, "--json").stdout)["available"] == 200


def test_a_file_without_end_is_refused(run: Run) -> None:
    assert "line 1: is longer than" in run("import-balances", "/dev/zero", code=2).stderr


def test_corrections_name_who_made_them(run: Run, user: uuid.UUID) -> None:
    lot = json.loads(run("grant", user, 100, "--source", "purchase", "--json").stdout)["lot"]["id"]
    assert (
        json.loads(run("adjust", user, -5, "--reason", "counted twice", "--operator", "li", "--json").stdout)["amount"]
        == -5
    )
    assert json.loads(run("credit-limit", user, 50, "--key", "k", "--json").stdout)["credit_limit"] == 50
    held = json.loads(run("consume", user, "--amount", 30, "--json").stdout)
    run("refund", held["id"], "--reason", "failed", "--operator", "wang")
    took = run("clawback", user, lot, "--amount", 10, "--reason", "chargeback", "--operator", "zhao", "--json")
    assert json.loads(took.stdout)["taken"] == 10
    entries = json.loads(run("transactions", user, "--json").stdout)["items"]
    assert {entry["kind"]: entry["operator"] for entry in entries if entry["operator"]} == {
        "adjust": "li",
        "refund": "wang",
        "clawback": "zhao",
    }


def test_options_stand_before_the_command_too(url: str, user: uuid.UUID) -> None:
    with Ledger.connect(url) as ledger:
        ledger.migrate()
    run = on(None)
    for arguments in (
        ("--json", "--database", url, "balance", user),
        ("--database", url, "balance", user, "--json"),
        ("balance", user, "--json", "--database", url),
    ):
        assert json.loads(run(*arguments).stdout)["available"] == 0
    assert json.loads(run("--json", "orders", "--database", url, "list").stdout)["items"] == []
    # What is said last, nearest to the command, counts; and before what the environment says.
    assert json.loads(on("sqlite:///nowhere/x.db")("--database", url, "--json", "balance", user).stdout)["held"] == 0
    # Wrong arguments are JSON too, where JSON is asked for.
    assert json.loads(run("--json", "balance", code=2).stderr)["error"]["code"] == "usage"


def test_orders_by_hand(run: Run, user: uuid.UUID) -> None:
    package = json.loads(run("packages", "list", "--json").stdout)[0]
    order = json.loads(run("orders", "create", user, package["id"], "--key", "a", "--json").stdout)
    number = order["order_no"]
    assert number in run("orders", "list", "--user-id", user).stdout
    run("orders", "settle", number, "--transaction-id", "transfer 7", "--amount", "9.90")
    assert json.loads(run("balance", user, "--json").stdout)["available"] == 110
    back = run("orders", "refund", number, "--amount", "4.95", "--reason", "half", "--operator", "li", "--json")
    assert json.loads(back.stdout)["refunds"][0]["operator"] == "li"
    assert json.loads(run("orders", "show", number, "--json").stdout)["status"] == "partially_refunded"
    assert "operator li" in run("orders", "show", number).stdout
    assert json.loads(run("orders", "reconcile", "--json").stdout)["failed"] == 0
    other = json.loads(run("orders", "create", user, package["id"], "--json").stdout)["order_no"]
    assert "closed" in run("orders", "close", other).stdout
    run("orders", "close", number, code=3)
    run("orders", "show", uuid.uuid4().hex, code=4)
    assert "MODULE:NAME" in run("orders", "reconcile", "--channels", "nowhere", code=2).stderr
    assert "nowhere" in run("orders", "reconcile", "--channels", "nowhere:channels", code=2).stderr


def test_packages_are_saved(run: Run) -> None:
    new = ["packages", "save", "--name", "尝鲜", "--price", "1.00", "--credits", 10, "--purchase-limit", 1, "--json"]
    made = json.loads(run(*new).stdout)
    assert (made["version"], made["price"], made["purchase_limit"]) == (1, "1.00", 1)
    assert json.loads(run(*new).stdout)["id"] == made["id"]  # repeated, it is there
    changed = run("packages", "save", "--id", made["id"], "--purchase-limit", "none", "--inactive", "--json")
    assert json.loads(changed.stdout) | {"updated_at": None} == made | {
        "version": 2, "purchase_limit": None, "active": False, "updated_at": None,
    }  # fmt: skip
    assert "尝鲜" in run("packages", "list").stdout
    assert len(json.loads(run("packages", "show", made["id"], "--versions", "--json").stdout)) == 2
    assert "--price" in run("packages", "save", "--name", "x", code=2).stderr
    run("packages", "show", uuid.uuid4(), code=4)


def test_rate_cards_are_previewed_set_and_retired(run: Run, tmp_path: Path) -> None:
    card = json.loads(run("pricing", "show", "subtitle_generation").stdout)
    file = tmp_path / "card.json"
    file.write_text(json.dumps({**card, "minimum": "7"}), encoding="utf-8")
    assert "7  credits" in on(None)("pricing", "preview", file, "--quantity", 1).stdout
    assert json.loads(run("pricing", "set", file, "--json").stdout)["version"] == 2
    assert json.loads(run("pricing", "set", file, "--json").stdout)["version"] == 2  # it is in force
    assert json.loads(run("quote", "subtitle_generation", "--quantity", 1, "--json").stdout)["credits"] == 7
    run("pricing", "retire", "subtitle_generation")
    run("seed")
    run("quote", "subtitle_generation", "--quantity", 1, code=4)
    assert "subtitle_generation" in run("pricing", "list").stdout
    file.write_text('{"feature": "x"}')
    assert "$." in run("pricing", "set", file, code=2).stderr
    run("pricing", "show", "nothing", code=4)
    run("pricing", "retire", "nothing", code=4)


UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def at_a_terminal(url: str, columns: int, *arguments: Any) -> list[str]:
    """The lines that somebody sees at a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "jointo_credits.cli", *map(str, arguments)]
    environment |= {"JOINTO_CREDITS_URL": url, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment) as ran:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert ran.returncode == 0, shown.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "").splitlines()


def test_ids_stay_whole_at_80_columns_and_in_pipes(run: Run, url: str, user: uuid.UUID) -> None:
    with Ledger.connect(url) as ledger:
        receipt = ledger.grant(
            user, 600, source="purchase", reference="order-7", expires_at=datetime(2099, 1, 1, tzinfo=UTC)
        )
        held = ledger.consume(user, "image_generation", 2, reference="job-1", metadata={"model": "x", "seeds": [1, 2]})
        done = ledger.confirm(held.id)
        order = ledger.create_order(user, ledger.packages()[0].id, "manual")
    assert receipt.lot is not None
    ids = {str(held.id), str(receipt.lot.id)}
    for command, seen in (
        (("transactions", user), {*ids, "job-1"}),
        (("consumption", user), {str(held.id), "job-1", "image_generation"}),
        (("orders", "list"), {order.order_no, str(user)}),
        (("orders", "show", order.order_no), {order.order_no, str(user), str(order.package_id)}),
        (("packages", "list"), {str(order.package_id), "入门套餐"}),
        (("pricing", "list"), {"image_generation"}),
        (("balance", user), {str(user), "2099-01-01"}),
    ):
        narrow = at_a_terminal(url, 80, *command)
        piped = run(*command).stdout.splitlines()
        for lines in (narrow, piped):
            for wanted in seen:
                assert any(wanted in line for line in lines), (wanted, lines)
            assert not any("{" in line or "[" in line for line in lines), lines  # JSON is for programs
        assert max(map(cell_len, narrow)) <= 80, narrow
        assert UUIDS.findall(" ".join(narrow)) == UUIDS.findall(" ".join(piped))
    # In a pipe a row is a line: what grep finds is all of it.
    row = next(line for line in run("consumption", user).stdout.splitlines() if str(done.id) in line)
    assert "job-1" in row
    assert "image_generation" in row


def test_exit_codes(run: Run, user: uuid.UUID) -> None:
    assert "required" in run("consume", user, "--amount", 5, code=3).stderr
    refused = json.loads(run("consume", user, "--amount", 5, "--json", code=3).stderr)["error"]
    assert refused == {
        "code": "insufficient_credits",
        "message": refused["message"],
        "required": 5,
        "available": 0,
    }
    run("confirm", user, code=4)
    run("balance", "nobody", code=2)
    run("grant", user, "many", "--source", "gift", code=2)
    run("no-such-command", code=2)
    assert "JOINTO_CREDITS_URL" in on(None)("balance", user, code=2).stderr
    assert "unavailable" in on("postgresql://x@127.0.0.1:1/x")("balance", user, "--json", code=5).stderr


def test_the_doctor_says_what_to_do(sqlite: str) -> None:
    assert "migrate" in on(sqlite)("doctor", code=5).stderr
    on(sqlite)("migrate")
    assert "as it should be" in on(sqlite)("doctor").stdout
    assert json.loads(on(sqlite)("doctor", "--json").stdout)["database"].startswith("SQLite 3")
    books = sqlite3.connect(sqlite.removeprefix("sqlite:///"))
    books.execute("DROP INDEX credit_lots_open")
    books.commit()
    books.close()
    assert "credit_lots_open" in on(sqlite)("doctor", code=5).stdout


def test_damage_is_found(sqlite: str, user: uuid.UUID) -> None:
    with Ledger.connect(sqlite) as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="purchase")
    books = sqlite3.connect(sqlite.removeprefix("sqlite:///"))
    books.execute("UPDATE credit_accounts SET available = available + 1")
    books.commit()
    books.close()
    assert str(user) in on(sqlite)("verify", code=6).stdout
    on(sqlite)("trial-balance", code=6)
