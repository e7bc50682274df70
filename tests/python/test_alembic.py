"""Autogenerate of a host leaves the ledger's tables alone."""

from __future__ import annotations

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from jointo_credits import Ledger
from jointo_credits.alembic import TABLES, include_name


def test_autogenerate_sees_only_the_hosts_tables(sqlite: str) -> None:
    with Ledger.connect(sqlite) as ledger:
        ledger.migrate()
    engine = sqlalchemy.create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE credit_notes (id INTEGER PRIMARY KEY)"))
        ours = set(sqlalchemy.inspect(connection).get_table_names()) - {"credit_notes"}
        assert ours == TABLES
        host = sqlalchemy.MetaData()
        seen = MigrationContext.configure(connection)
        assert {change[1].name for change in compare_metadata(seen, host) if change[0] == "remove_table"} > TABLES
        with_us = MigrationContext.configure(connection, opts={"include_name": include_name})
        assert [(change[0], change[1].name) for change in compare_metadata(with_us, host)] == [
            ("remove_table", "credit_notes")
        ]
    engine.dispose()
