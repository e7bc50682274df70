"""The command line: ``jointo-credits``, or ``python -m jointo_credits.cli``. Needs the extra ``[cli]``.

Exit codes: 0 done; 1 a fault of the program, or interrupted; 2 wrong arguments; 3 refused by the ledger (too few
credits, a state that does not allow it, a key used for another request); 4 not found; 5 the database is away or not
what it should be, or not all was done; 6 the books, or the totals, do not add up.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command that the arguments say."""
    try:
        from ._commands import commands
    except ModuleNotFoundError as missing:
        if missing.name not in {"click", "rich"}:
            raise
        sys.exit("The command line needs two more packages: pip install 'jointo-credits[cli]'")
    commands(prog_name="jointo-credits")
