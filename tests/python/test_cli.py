"""The command line: what it prints, what it exits with, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
        ('user_id,amount,reason\n{0},5,"abc\n{1},6,x', "is no CSV"),
        ('user_id,amount,reason\n{0},5,"abc\n{1},6,x"\n', "a line break"),
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
        assert told == {"accounts": 20, "credits": 2100, "applied": True, "opening_balances_in_the_books": 2100}
    # An account has one opening balance: another one is refused, and says for whom.
    file.write_text(f"user_id,balance\n{users[0]},10\n{users[1]},999")
    refused = run("import-balances", file, "--apply", "--expect-total", 1009, code=3)
    assert "line 2" in refused.stderr or "line 3" in refused.stderr
    assert json.loads(run("trial-balance", "--json").stdout)["available"] == 2100


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
