"""The backend's own table: what its users have asked for. Each job knows the consumption that pays for it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: In which a job stays.
FINAL = ("succeeded", "failed", "expired")


class Base(DeclarativeBase):
    """The backend's tables; the ledger's are none of SQLAlchemy's business."""


class AiJob(Base):
    __tablename__ = "ai_jobs"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(index=True)
    kind: Mapped[str]
    asked: Mapped[dict[str, Any]] = mapped_column(JSON)
    #: `credit_consumption_logs.consumption_id`. No foreign key: the ledger may be in another database, and may remove
    #: old rows.
    consumption_log_id: Mapped[uuid.UUID] = mapped_column(unique=True)
    #: queued, or how it ended.
    status: Mapped[str]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime]


class JobTable:
    """The table, and all that is done with it."""

    def __init__(self, url: str) -> None:
        self.engine: AsyncEngine = create_async_engine(url)
        self._session = async_sessionmaker(self.engine, expire_on_commit=False)

    async def create(self) -> None:
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    async def close(self) -> None:
        await self.engine.dispose()

    async def add(
        self, job_id: uuid.UUID, user_id: uuid.UUID, kind: str, asked: dict[str, Any], consumption_id: uuid.UUID
    ) -> None:
        """A request that is made twice at once makes it once."""
        job = AiJob(
            id=job_id,
            user_id=user_id,
            kind=kind,
            asked=asked,
            consumption_log_id=consumption_id,
            status="queued",
            created_at=datetime.now(UTC).replace(tzinfo=None),
        )
        with suppress(IntegrityError):
            async with self._session.begin() as session:
                session.add(job)

    async def get(self, job_id: uuid.UUID) -> AiJob | None:
        async with self._session() as session:
            return await session.get(AiJob, job_id)

    async def of_user(self, user_id: uuid.UUID) -> list[AiJob]:
        async with self._session() as session:
            found = await session.scalars(
                select(AiJob).where(AiJob.user_id == user_id).order_by(AiJob.created_at.desc()).limit(100)
            )
            return list(found)

    async def end(self, job_id: uuid.UUID, status: str, result: dict[str, Any] | None) -> None:
        """Writes down how a job has ended; the first end counts."""
        async with self._session.begin() as session:
            await session.execute(
                update(AiJob).where(AiJob.id == job_id, AiJob.status.not_in(FINAL)).values(status=status, result=result)
            )
