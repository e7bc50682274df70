"""Runs the ledger and what it is compared with in turns, and prints the ratios. Started by `scripts/bench`.

Every measurement on PostgreSQL has a schema of its own, made in the same way, analyzed and checkpointed before the
clock starts, and dropped afterwards, so that nobody works on fuller tables than his opponent.
"""

import argparse
import asyncio
import datetime
import itertools
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass
class Series:
    """What one contender reached, round by round."""

    values: list[float] = field(default_factory=list)
    cpu_client: list[float] = field(default_factory=list)
    cpu_server: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Machine:
    """The server, and the programs that are measured."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.database = os.environ["JOINTO_CREDITS_TEST_POSTGRES"]
        self.numbers = itertools.count(1)
        self.series: dict[str, Series] = {}
        self.alone: dict[str, Series] = {}
        self.peak_mib = 0

    def sql(self, text: str, scalar: bool = False):
        async def run():
            connection = await asyncpg.connect(self.database)
            try:
                return await (connection.fetchval(text) if scalar else connection.execute(text))
            finally:
                await connection.close()

        return asyncio.run(run())

    def server_cpu(self) -> float:
        """CPU seconds of all server processes so far, those that have ended included."""
        ticks = 0
        stat = Path(f"/proc/{self.postmaster}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(map(int, stat[11:15]))
        for process in Path("/proc").glob("[0-9]*/stat"):
            try:
                stat = process.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[1]) == self.postmaster:
                ticks += int(stat[11]) + int(stat[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def postmaster(self) -> int:
        if not hasattr(self, "_postmaster"):
            self._postmaster = int(self.sql("SELECT pg_read_file('postmaster.pid')", scalar=True).split()[0])
        return self._postmaster

    def run(self, *commands: list[str]) -> list[dict]:
        """Runs commands at the same time and returns what they print."""
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        printed = [process.communicate()[0] for process in processes]
        for process in processes:
            if process.returncode:
                sys.exit(f"bench: {' '.join(process.args)} failed")
        return [json.loads(text) for text in printed]

    def timing(self, factor: float = 1) -> list[str]:
        return ["--seconds", str(self.options.seconds * factor), "--warm-up", str(self.options.warm_up)]

    def record(self, name: str, value: float, per_second: float, cpu_client: float, cpu_server: float) -> None:
        series = self.series.setdefault(name, Series())
        operations = max(per_second, 1) * (self.options.seconds + self.options.warm_up)
        series.values.append(value)
        series.cpu_client.append(cpu_client / operations * 1e6)
        series.cpu_server.append(cpu_server / operations * 1e6)
        print(f"  {name:44} {value:>12,.0f}", file=sys.stderr, flush=True)

    def measure(self, name: str, *commands: list[str], figure: str = "per_second") -> None:
        schema = f"bench_{next(self.numbers)}"
        self.sql(f"CREATE SCHEMA {schema}")
        at = ["--database", self.database, "--schema", schema]
        subprocess.run([self.options.load, "--setup", *at], check=True)
        for table in ("accounts", "lots", "consumption_logs", "transactions"):
            self.sql(f"ANALYZE {schema}.credit_{table}")
        self.sql("CHECKPOINT")
        client, server = children_cpu(), self.server_cpu()
        results = self.run(*([*command, *at, *self.timing()] for command in commands))
        client = children_cpu() - client
        time.sleep(0.3)  # Until the sessions have ended: their CPU time is then in their parent's account.
        server = self.server_cpu() - server
        per_second = sum(result["per_second"] for result in results)
        value = per_second if figure == "per_second" else results[0][figure]
        self.record(name, value, per_second, client, server)
        self.sql(f"DROP SCHEMA {schema} CASCADE")

    def measure_sqlite(self, name: str, command: list[str]) -> None:
        with tempfile.TemporaryDirectory(dir=self.options.folder) as folder:
            file = Path(folder) / "bench.db"
            url = f"sqlite:///{file}"
            subprocess.run([self.options.load, "--setup", "--database", url], check=True)
            os.sync()
            client = children_cpu()
            command = [part.replace("{url}", url).replace("{file}", str(file)) for part in command]
            (result,) = self.run([*command, *self.timing()])
            self.record(name, result["per_second"], result["per_second"], children_cpu() - client, 0)


    def reached(self, name: str, value: float) -> None:
        self.alone.setdefault(name, Series()).values.append(value)
        print(f"  {name:44} {value:>12,.0f}", file=sys.stderr, flush=True)

    def measure_calculate(self) -> None:
        # As cargo starts it: without `--bench` it only shows that it runs.
        command = [self.options.calculate, "--bench", str(min(self.options.seconds, 1))]
        text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        for result in map(json.loads, text.splitlines()):
            self.reached(f"calculate, {result['quotes']}", result["per_second"])

    def measure_python(self) -> None:
        """Calls on the store in memory, where nothing waits for a database, from Python and from Rust."""
        seconds = str(min(self.options.seconds, 2))
        text = subprocess.run(
            [sys.executable, str(HERE / "python_calls.py"), seconds], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        python = {result["calls"]: result for result in map(json.loads, text.splitlines())}
        (rust,) = self.run([self.options.load, "--database", "memory:", "--callers", "1", "--accounts", "1000",
                            "--seconds", seconds, "--warm-up", "0.3"])
        for what, result in python.items():
            self.reached(f"Python, {what}", result["per_second"])
        self.reached("Python over Rust, consume", python["consume"]["us"] - 1e6 / rust["per_second"])

    def measure_verify(self, name: str, database: str) -> None:
        """Fills the database, which must be empty, and audits it, in processes of their own: memory is measured too."""
        command = [self.options.verify, "--database", database, "--entries", str(self.options.entries), "--rounds",
                   str(self.options.rounds)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        for result in map(json.loads, text.splitlines()):
            self.reached(name, result["per_second"])
            self.peak_mib = max(self.peak_mib, result["peak_mib"] or 0)


def children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_all(machine: Machine) -> None:
    o = machine.options
    python = [sys.executable, str(HERE / "sqlalchemy_service.py")]

    def load(callers: int, *more: str) -> list[str]:
        return [o.load, "--callers", str(callers), *more]

    for number in range(o.rounds):
        print(f"round {number + 1} of {o.rounds}", file=sys.stderr, flush=True)
        if "postgres" in o.on:
            machine.measure("ours, 64", load(64))
            machine.measure("SQLAlchemy, 64", [*python, "--callers", "64"])
            machine.measure("ours, two processes", load(64, "--run", "1"), load(64, "--run", "2"))
            machine.measure("ours, 64 on one account", load(64, "--accounts", "1"))
            machine.measure("ours, pairs", load(64, "--work", "pairs"))
            machine.measure("ours, 1024", load(1024))
            machine.measure("bare rows", [o.bulk])
            machine.measure("ours, one caller", load(1), figure="p50_us")
            machine.measure("function, one caller", [o.bulk, "--work", "function"], figure="p50_us")
            if number == 0:  # For information: once is enough.
                machine.measure("SQLAlchemy Core, 64", [*python, "--callers", "64", "--style", "core"])
                machine.measure("SQLAlchemy, 64 on one account", [*python, "--callers", "64", "--accounts", "1"])
                machine.measure("bare rows, a statement per table", [o.bulk, "--shape", "four"])
        if "sqlite" in o.on:
            machine.measure_sqlite("ours, SQLite, 64", load(64, "--database", "{url}"))
            machine.measure_sqlite("bare rows, SQLite, by 64", [o.bulk_sqlite, "--file", "{file}"])
            machine.measure_sqlite("ours, SQLite, one caller", load(1, "--database", "{url}"))
            machine.measure_sqlite(
                "bare rows, SQLite, one by one", [o.bulk_sqlite, "--file", "{file}", "--operations", "1"]
            )
        if "calculate" in o.on:
            machine.measure_calculate()
        if "python" in o.on:
            machine.measure_python()
    # Last, and each once: nobody else's tables are beside these, which take the longest to fill.
    if "verify" in o.on and "postgres" in o.on:
        machine.measure_verify("verify, PostgreSQL", machine.database)
    if "verify" in o.on and "sqlite" in o.on:
        with tempfile.TemporaryDirectory(dir=o.folder) as folder:
            machine.measure_verify("verify, SQLite", f"sqlite:///{Path(folder) / 'verify.db'}")


# what, ours, other, budget, and whether the ratio may be at most that (instead of at least)
COMPARISONS = [
    ("64 callers: a SQLAlchemy service", "ours, 64", "SQLAlchemy, 64", 80, False),
    ("1,024 callers: bare rows, 500 a statement", "ours, 1024", "bare rows", 1.0, False),
    ("64 callers on one account: spread over 10,000", "ours, 64 on one account", "ours, 64", 1.0, False),
    ("two processes together: one", "ours, two processes", "ours, 64", 1.0, False),
    ("hold + confirm in another process, pairs: consume", "ours, pairs", "ours, 64", 0.4, False),
    ("one caller, p50: one PL/pgSQL call", "ours, one caller", "function, one caller", 1.2, True),
    ("SQLite, 64 callers: bare rows, 64 a transaction", "ours, SQLite, 64", "bare rows, SQLite, by 64", 0.5, False),
    ("SQLite, one caller: bare rows, one a transaction", "ours, SQLite, one caller",
     "bare rows, SQLite, one by one", 0.8, False),
    ("for information: a SQLAlchemy Core service", "ours, 64", "SQLAlchemy Core, 64", None, False),
    ("for information: the SQLAlchemy service, one account", "ours, 64 on one account",
     "SQLAlchemy, 64 on one account", None, False),
    ("for information: bare rows, a statement per table", "ours, 1024", "bare rows, a statement per table", None, False),
]


def table(machine: Machine) -> list[list[str]]:
    rows = [["what", "ours", "other", "ratio", "range", "budget", "met"]]
    for what, ours_name, other_name, budget, at_most in COMPARISONS:
        ours, other = machine.series.get(ours_name), machine.series.get(other_name)
        if ours is None or other is None:
            continue
        ratio = ours.median / max(other.median, 1)
        rounds = [a / max(b, 1) for a, b in zip(ours.values, other.values)]
        unit = "us" if at_most else "/s"
        row = [what, f"{ours.median:,.0f} {unit}", f"{other.median:,.0f} {unit}", f"{ratio:.2f}",
               f"{min(rounds):.2f} to {max(rounds):.2f}"]
        if budget is None:
            row += ["", ""]
        else:
            met = ratio <= budget if at_most else ratio >= budget
            row += [f"{'<=' if at_most else '>='} {budget}", "yes" if met else "NO"]
        rows.append(row)
    return rows


# What has a budget by itself, by the beginning of its name.
BUDGETS = {
    "calculate, ": (">=", 1_000_000),
    "verify, ": (">=", 300_000),
    "Python, calculate": (">=", 200_000),
    "Python over Rust": ("<=", 30),
}
# Reading a quote out as text is not part of making it.
NO_BUDGET = ["calculate, and read out as text"]


def alone_table(machine: Machine) -> list[list[str]]:
    rows = [["by itself", "reached", "range", "budget", "met"]]
    for name, series in machine.alone.items():
        unit = "us" if name.startswith("Python over Rust") else "/s"
        row = [name, f"{series.median:,.0f} {unit}", f"{min(series.values):,.0f} to {max(series.values):,.0f}"]
        budget = next((b for begin, b in BUDGETS.items() if name.startswith(begin) and name not in NO_BUDGET), None)
        if budget is None:
            row += ["", ""]
        else:
            sign, figure = budget
            met = series.median >= figure if sign == ">=" else series.median <= figure
            row += [f"{sign} {figure:,}", "yes" if met else "NO"]
        rows.append(row)
    return rows


def cpu_table(machine: Machine) -> list[list[str]]:
    rows = [["CPU time for one operation", "client, us", "server, us"]]
    for name, series in machine.series.items():
        rows.append([name, f"{statistics.median(series.cpu_client):,.0f}", f"{statistics.median(series.cpu_server):,.0f}"])
    return rows


def fsync_us(folder: str) -> float:
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.pwrite(file.fileno(), bytes(1 << 20), 0)
        os.fsync(file.fileno())
        for n in range(200):
            before = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(8192), n % 128 * 8192)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e6


def file_system(folder: str) -> str:
    words = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True).stdout.split()
    return words[0] if words else "unknown"


def facts(machine: Machine, busy: float) -> list[str]:
    o = machine.options
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.M)
    from importlib.metadata import version

    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    names = ["fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "checkpoint_timeout",
             "autovacuum", "wal_sync_method"]
    settings = ", ".join(f"{name} {machine.sql(f'SHOW {name}', scalar=True)}" for name in names)
    return [
        f"{datetime.date.today()}, {os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), "
        f"{int(memory[1]) / 2**20:.0f} GiB, Linux {platform.release()}; server and clients share the cores",
        f"{busy:.0%} of the CPU time was in use by others before the run began",
        f"8 KiB write and fdatasync: {fsync_us(o.folder):.0f} us ({file_system(o.folder)})",
        f"PostgreSQL {machine.sql('SHOW server_version', scalar=True)}: {settings}; otherwise default, TCP on the same host",
        f"{rust}; Python {platform.python_version()}, SQLAlchemy {version('sqlalchemy')}, asyncpg {version('asyncpg')}; "
        "SQLite as bundled by rusqlite, WAL, synchronous FULL",
        f"{o.rounds} rounds in turns, {o.seconds} s each after {o.warm_up} s of warm-up; medians",
        *([f"verify: {o.entries:,} entries of 10,000 accounts, peak memory {machine.peak_mib} MiB"]
          if machine.peak_mib else []),
    ]


def others_busy() -> float:
    """How much of the machine others use, while we do nothing."""

    def read():
        numbers = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
        return sum(numbers), numbers[3] + numbers[4]

    before = read()
    time.sleep(1)
    after = read()
    return 1 - (after[1] - before[1]) / max(1, after[0] - before[0])


def plain(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    left = lambda row: "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip()
    return "\n".join([left(rows[0]), "-" * (sum(widths) + 2 * len(widths) - 2), *map(left, rows[1:])])


def markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- |" + " ---: |" * (len(rows[0]) - 1))
    return "\n".join(lines)


def write_document(path: Path, facts: list[str], tables: list[list[list[str]]]) -> None:
    text = path.read_text()
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    body = "\n".join(f"- {fact}" for fact in facts) + "\n\n" + "\n\n".join(map(markdown, tables))
    path.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser()
    for program in ("load", "bulk", "bulk-sqlite", "calculate", "verify"):
        parser.add_argument(f"--{program}", required=True)
    everything = ["postgres", "sqlite", "calculate", "python", "verify"]
    parser.add_argument("--on", nargs="+", choices=everything, default=everything,
                        help="verify goes with postgres, sqlite, or both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--entries", type=int, default=300_000, help="how many entries verify audits")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where SQLite's files go")
    parser.add_argument("--document", type=Path, help="a Markdown file that gets the tables")
    options = parser.parse_args()
    machine = Machine(options)
    began, busy = time.time(), others_busy()
    measure_all(machine)
    told, tables = facts(machine, busy), [table(machine), alone_table(machine), cpu_table(machine)]
    # A table that nothing was measured for is not shown.
    tables = [rows for rows in tables if len(rows) > 1]
    print("\n" + "\n".join(told), *map(plain, tables), sep="\n\n")
    print(f"\n{time.time() - began:.0f} s")
    if options.document:
        write_document(options.document, told, tables)


main()
