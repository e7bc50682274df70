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
        from ._shop import commands
    except ModuleNotFoundError as missing:
        if missing.name not in {"click", "rich"}:
            raise
        sys.exit("The command line needs two more packages: pip install 'jointo-credits[cli]'")
    import click

    from .._plain import as_json

    try:
        code = commands.main(prog_name="jointo-credits", standalone_mode=False)
    except click.ClickException as wrong:
        # For a program, wrong arguments are an error like any other.
        if "--json" in sys.argv:
            click.echo(as_json({"error": {"code": "usage", "message": wrong.format_message()}}), err=True)
        else:
            wrong.show()
        sys.exit(wrong.exit_code)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
