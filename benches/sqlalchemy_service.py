"""What the ledger is measured against, for `scripts/bench`: a hand-written credit service.

SQLAlchemy 2 with asyncpg, one process, in the style of its documentation: mapped classes, a session and a transaction
for each call, the account's row locked with SELECT ... FOR UPDATE. On the ledger's own tables, so that rows and
indexes are the same. Prints one JSON object.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import time
import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import ARRAY, BigInteger, Boolean, DateTime, ForeignKey, LargeBinary, Text, Uuid, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HOLD_TTL = timedelta(hours=1)


class Base(DeclarativeBase):
    type_annotation_map = {
        int: BigInteger,
        str: Text,
        bool: Boolean,
        bytes: LargeBinary,
        uuid.UUID: Uuid,
        datetime: DateTime(timezone=True),
    }


class Account(Base):
    __tablename__ = "credit_accounts"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    seq: Mapped[int]
    hash: Mapped[bytes]
    available: Mapped[int]
    held: Mapped[int]
    credit_limit: Mapped[int]
    next_hold_deadline: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class Lot(Base):
    __tablename__ = "credit_lots"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Account.user_id), primary_key=True)
    lot_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    remaining: Mapped[int]
    open: Mapped[bool]
    priority: Mapped[int]
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class ConsumptionLog(Base):
    __tablename__ = "credit_consumption_logs"

    consumption_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Account.user_id), primary_key=True)
    status: Mapped[str]
    amount: Mapped[int]
    captured: Mapped[int]
    reversed: Mapped[int]
    borrowed: Mapped[int]
    lot_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid))
    lot_amounts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    feature: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Transaction(Base):
    __tablename__ = "credit_transactions"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Account.user_id), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    change: Mapped[int]
    held_change: Mapped[int]
    available: Mapped[int]
    held: Mapped[int]
    counter_account: Mapped[str]
    consumption_id: Mapped[uuid.UUID | None]
    idempotency_key: Mapped[str | None]
    request_hash: Mapped[bytes | None]
    data: Mapped[str]
    created_at: Mapped[datetime]
    hash: Mapped[bytes]


class InsufficientCredits(Exception):
    pass


class IdempotencyConflict(Exception):
    pass


def request_hash(user_id: uuid.UUID, amount: int, feature: str) -> bytes:
    return hashlib.sha256(f"consume|{user_id}|{amount}|{feature}".encode()).digest()


def chained_hash(previous: bytes, *fields: object) -> bytes:
    return hashlib.sha256(previous + "\x1f".join(map(str, fields)).encode()).digest()


def take(lots: list[Lot], amount: int) -> list[tuple[Lot, int]]:
    """Which lots pay, and how much each."""
    taken = []
    for lot in lots:
        part = min(lot.remaining, amount)
        taken.append((lot, part))
        amount -= part
        if amount == 0:
            return taken
    raise InsufficientCredits


def changes(taken: list[tuple[Lot, int]]) -> str:
    return json.dumps(
        {
            "lots": [{"lot": str(lot.lot_id), "remaining": -part} for lot, part in taken],
            "hold": {"status": "pending", "pins": [{"lot_id": str(lot.lot_id), "amount": part} for lot, part in taken]},
        }
    )


def spendable_lots(user_id: uuid.UUID, now: datetime):
    return (
        select(Lot)
        .where(Lot.user_id == user_id, Lot.open, (Lot.expires_at.is_(None)) | (Lot.expires_at > now))
        .order_by(Lot.priority, Lot.expires_at, Lot.created_at)
    )


class Service:
    """The ORM's way: load objects, change them, and let the session write what changed."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]):
        self.sessions = sessions

    async def consume(self, user_id: uuid.UUID, amount: int, feature: str, key: str) -> uuid.UUID:
        wanted = request_hash(user_id, amount, feature)
        async with self.sessions.begin() as session:
            prior = (
                await session.execute(
                    select(Transaction.consumption_id, Transaction.request_hash).where(
                        Transaction.user_id == user_id, Transaction.idempotency_key == key
                    )
                )
            ).one_or_none()
            if prior is not None:
                if prior.request_hash != wanted:
                    raise IdempotencyConflict
                return prior.consumption_id
            account = await session.get_one(Account, user_id, with_for_update=True)
            now = datetime.now(UTC)
            if amount > account.available + account.credit_limit:
                raise InsufficientCredits
            taken = take(list(await session.scalars(spendable_lots(user_id, now))), amount)
            for lot, part in taken:
                lot.remaining -= part
                lot.open = lot.remaining > 0
            consumption_id = uuid.uuid4()
            data = changes(taken)
            account.seq += 1
            account.available -= amount
            account.held += amount
            account.hash = chained_hash(
                account.hash, user_id, account.seq, "consume", -amount, amount, account.available, account.held,
                consumption_id, key, data, now,
            )
            account.updated_at = now
            if account.next_hold_deadline is None:
                account.next_hold_deadline = now + HOLD_TTL
            session.add(
                ConsumptionLog(
                    consumption_id=consumption_id, user_id=user_id, status="pending", amount=amount, captured=0,
                    reversed=0, borrowed=0, lot_ids=[lot.lot_id for lot, _ in taken],
                    lot_amounts=[part for _, part in taken], feature=feature, created_at=now, expires_at=now + HOLD_TTL,
                    updated_at=now,
                )
            )
            session.add(
                Transaction(
                    user_id=user_id, seq=account.seq, kind="consume", change=-amount, held_change=amount,
                    available=account.available, held=account.held, counter_account="held",
                    consumption_id=consumption_id, idempotency_key=key, request_hash=wanted, data=data, created_at=now,
                    hash=account.hash,
                )
            )
            return consumption_id


class CoreService(Service):
    """The same with SQLAlchemy Core: less comfortable, and faster."""

    async def consume(self, user_id: uuid.UUID, amount: int, feature: str, key: str) -> uuid.UUID:
        wanted = request_hash(user_id, amount, feature)
        async with self.sessions.kw["bind"].begin() as connection:
            prior = (
                await connection.execute(
                    select(Transaction.consumption_id, Transaction.request_hash).where(
                        Transaction.user_id == user_id, Transaction.idempotency_key == key
                    )
                )
            ).one_or_none()
            if prior is not None:
                if prior.request_hash != wanted:
                    raise IdempotencyConflict
                return prior.consumption_id
            locked = select(Account.__table__).where(Account.user_id == user_id).with_for_update()
            account = (await connection.execute(locked)).one()
            now = datetime.now(UTC)
            if amount > account.available + account.credit_limit:
                raise InsufficientCredits
            taken = take((await connection.execute(spendable_lots(user_id, now))).all(), amount)
            consumption_id = uuid.uuid4()
            data = changes(taken)
            seq, available, held = account.seq + 1, account.available - amount, account.held + amount
            new_hash = chained_hash(
                account.hash, user_id, seq, "consume", -amount, amount, available, held, consumption_id, key, data, now
            )
            await connection.execute(
                update(Account)
                .where(Account.user_id == user_id)
                .values(
                    seq=seq, hash=new_hash, available=available, held=held, updated_at=now,
                    next_hold_deadline=account.next_hold_deadline or now + HOLD_TTL,
                )
            )
            for lot, part in taken:
                await connection.execute(
                    update(Lot)
                    .where(Lot.user_id == user_id, Lot.lot_id == lot.lot_id)
                    .values(remaining=lot.remaining - part, open=lot.remaining > part)
                )
            await connection.execute(
                insert(ConsumptionLog).values(
                    consumption_id=consumption_id, user_id=user_id, status="pending", amount=amount, captured=0,
                    reversed=0, borrowed=0, lot_ids=[lot.lot_id for lot, _ in taken],
                    lot_amounts=[part for _, part in taken], feature=feature, created_at=now, expires_at=now + HOLD_TTL,
                    updated_at=now,
                )
            )
            await connection.execute(
                insert(Transaction).values(
                    user_id=user_id, seq=seq, kind="consume", change=-amount, held_change=amount, available=available,
                    held=held, counter_account="held", consumption_id=consumption_id, idempotency_key=key,
                    request_hash=wanted, data=data, created_at=now, hash=new_hash,
                )
            )
            return consumption_id


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--schema", required=True)
    parser.add_argument("--style", choices=["orm", "core"], default="orm")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--pool", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    options = parser.parse_args()
    engine = create_async_engine(
        options.database.replace("postgresql://", "postgresql+asyncpg://"),
        pool_size=options.pool,
        max_overflow=0,
        pool_timeout=120,
        connect_args={"server_settings": {"search_path": options.schema, "jit": "off"}},
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    service = {"orm": Service, "core": CoreService}[options.style](sessions)
    async with sessions() as session:
        accounts = list(await session.scalars(select(Account.user_id).order_by(Account.user_id)))[: options.accounts]
    latencies: list[float] = []
    begin = time.perf_counter() + options.warm_up
    end = begin + options.seconds

    async def caller(number: int) -> None:
        n = 0
        while (before := time.perf_counter()) < end:
            await service.consume(random.choice(accounts), 7, "text_processing", f"run-{os.getpid()}-{number}-{n}")
            n += 1
            if begin <= (after := time.perf_counter()) <= end:
                latencies.append(after - before)

    await asyncio.gather(*(caller(number) for number in range(options.callers)))
    await engine.dispose()
    latencies.sort()
    p50 = latencies[len(latencies) // 2] * 1e6 if latencies else 0
    print(json.dumps({"per_second": round(len(latencies) / options.seconds), "p50_us": round(p50)}))


asyncio.run(main())
