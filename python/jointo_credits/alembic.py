"""For hosts that use Alembic: keeps autogenerate away from the ledger's tables, which the ledger migrates itself.

In ``env.py``::

    from jointo_credits.alembic import include_name

    context.configure(..., include_name=include_name)

That is for a ledger in the database's default schema. Where yours has one of its own, name it, and what other schemas
have is left to you::

    from jointo_credits.alembic import include_name_in

    context.configure(..., include_schemas=True, include_name=include_name_in("credits"))

With an ``include_name`` of your own::

    from jointo_credits.alembic import is_ours

    def include_name(name, type_, parent_names):
        return not is_ours(name, type_, parent_names, schema="credits") and ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["TABLES", "include_name", "include_name_in", "is_ours"]

#: The ledger's tables.
TABLES = frozenset(
    {
        "credit_accounts",
        "credit_anchor_groups",
        "credit_anchor_leaves",
        "credit_anchors",
        "credit_archived_sums",
        "credit_archives",
        "credit_catalogue",
        "credit_checkpoints",
        "credit_consumption_logs",
        "credit_gifts",
        "credit_kept_entries",
        "credit_ledger",
        "credit_lots",
        "credit_migrations",
        "credit_orders",
        "credit_package_versions",
        "credit_packages",
        "credit_payment_claims",
        "credit_pricing",
        "credit_transactions",
    }
)


def is_ours(name: str | None, type_: str, parent_names: Mapping[str, str | None], schema: str | None = None) -> bool:
    """Whether the ledger looks after it: one of its tables, or a part of one. The arguments are Alembic's, and the
    ledger's ``schema``; the database's default one without."""
    table = name if type_ == "table" else parent_names.get("table_name")
    return table in TABLES and parent_names.get("schema_name") == schema


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """For ``context.configure(include_name=...)``: everything but the ledger's tables in the default schema."""
    return not is_ours(name, type_, parent_names)


def include_name_in(schema: str | None) -> Callable[[str | None, str, Mapping[str, str | None]], bool]:
    """The same for a ledger that was connected with this ``schema``."""

    def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
        return not is_ours(name, type_, parent_names, schema)

    return include_name
