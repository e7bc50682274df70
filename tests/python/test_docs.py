"""The Python code in the README and in docs/ runs as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = {
    ("README.md", 0): r"1000000 required, \d+ available\n\d+ True\n",
    ("README.zh-CN.md", 0): r"需要 1000000，可用 \d+\n\d+ True\n",
    ("docs/python.md", 0): r"80\n",
    ("docs/python.md", 1): "",
    ("docs/python.md", 2): "",
    ("docs/statements.md", 0): r"500 60 440\n\[\('image_generation', 60\)\]\n",
    ("docs/backend.md", 0): "",
    ("docs/backend.md", 1): "",
    ("docs/backend.md", 2): "",
    ("docs/backend.md", 3): r"64\ncharged\n",
    ("docs/cache.md", 0): r"100\n70\n70\nCacheStats\(hits=1, misses=1, away=0\)\n",
    ("docs/anchors.md", 0): r"True\n100\n",
    ("docs/retention.md", 0): r"0\n0\nTrue True\n\[\]\n",
}


def blocks() -> list[tuple[str, int, str]]:
    found = []
    for page in (
        "README.md",
        "README.zh-CN.md",
        "docs/python.md",
        "docs/statements.md",
        "docs/backend.md",
        "docs/anchors.md",
        "docs/retention.md",
        "docs/cache.md",
    ):
        text = (ROOT / page).read_text(encoding="utf-8")
        found += [(page, n, code) for n, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))]
    return found


def test_none_is_left_out() -> None:
    assert {(page, n) for page, n, _ in blocks()} == set(OUTPUT)


@pytest.mark.parametrize(("page", "n", "code"), blocks(), ids=lambda part: str(part) if len(str(part)) < 20 else "")
def test_runs_as_written(page: str, n: int, code: str, tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(code, encoding="utf-8")
    for _ in range(1 if page.startswith("docs/") else 2):  # a quick start is run twice by somebody
        ran = subprocess.run(
            [sys.executable, "-W", "error", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        assert re.fullmatch(OUTPUT[page, n], ran.stdout), ran.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/python.md", "docs/statements.md"])
def test_types_of_the_examples(page: str, tmp_path: Path) -> None:
    """mypy --strict and pyright find nothing to say."""
    files = []
    for where, n, code in blocks():
        if where == page:
            files.append(tmp_path / f"example_{n}.py")
            files[-1].write_text(code, encoding="utf-8")
    for command in (["mypy", "--strict", "--no-incremental"], ["pyright", "--pythonpath", sys.executable]):
        checker = Path(sys.executable).with_name(command[0])
        ran = subprocess.run([checker, *command[1:], *files], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def slug(heading: str) -> str:
    """How a heading is linked to."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    headings = {
        page: {slug(line.lstrip("#")) for line in page.read_text().splitlines() if line.startswith("#")}
        for page in pages
    }
    followed = 0
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, heading = link.partition("#")
            if path.startswith(("http:", "https:", "mailto:")):
                continue
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if heading and target in headings:
                assert heading in headings[target], f"{page.name}: {link}"
            followed += 1
    assert followed > 100


def test_every_rule_names_its_tests() -> None:
    text = (ROOT / "docs/rules.md").read_text()
    for module in (ROOT / "tests/rules").glob("*.rs"):
        assert module.name == "main.rs" or f"tests/rules/{module.name}" in text, module.name
