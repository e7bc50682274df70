"""Autogenerate of a host leaves the ledger's tables alone."""

from __future__ import annotations

import warnings

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from jointo_credits import Ledger
from jointo_credits.alembic import TABLES, include_name, include_name_in


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
        with warnings.catch_warnings():
            # SQLAlchemy reads no index over expressions, and says so of tables that it should not look at.
            warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)
            assert {change[1].name for change in compare_metadata(seen, host) if change[0] == "remove_table"} > TABLES
        with_us = MigrationContext.configure(connection, opts={"include_name": include_name})
        assert [(change[0], change[1].name) for change in compare_metadata(with_us, host)] == [
            ("remove_table", "credit_notes")
        ]
    engine.dispose()


def test_tables_of_other_schemas_are_the_hosts() -> None:
    ours = {"schema_name": "credits"}
    for name, type_, names, is_seen in (
        ("credit_orders", "table", ours, False),
        ("amount", "column", {"table_name": "credit_orders", **ours}, False),
        ("credit_orders", "table", {"schema_name": "shop"}, True),
        ("credit_orders", "table", {"schema_name": None}, True),
        ("credits", "schema", {}, True),
    ):
        assert include_name_in("credits")(name, type_, names) is is_seen
    assert not include_name("credit_orders", "table", {"schema_name": None})
    assert include_name("credit_orders", "table", {"schema_name": "shop"})
