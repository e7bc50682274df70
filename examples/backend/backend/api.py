"""The API: ``uvicorn backend.api:app``."""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from jointo_credits import AsyncLedger, Consumption
from jointo_credits.fastapi import (
    EnvelopeRoute,
    credits_router,
    health_router,
    idempotency_key,
    metrics_router,
    recharge_router,
)
from jointo_credits.jobs import AsyncJobs
from jointo_credits.prometheus import CreditsCollector

from . import signing, worker
from .jobs import AiJob, JobTable
from .settings import settings

registry = CollectorRegistry()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    ledger = await AsyncLedger.connect(settings.credits_url, channels=settings.channels, order_ttl=settings.order_ttl)
    await ledger.migrate()
    await ledger.seed_catalog()
    app.state.ledger, app.state.jobs = ledger, JobTable(settings.jobs_url)
    await app.state.jobs.create()
    collector = CreditsCollector(ledger)
    registry.register(collector)
    yield
    registry.unregister(collector)
    await app.state.jobs.close()
    await ledger.close()


app = FastAPI(title="A small AI product", lifespan=lifespan)
# So that a refusal of the ledger's is told in the same way everywhere.
app.router.route_class = EnvelopeRoute
# The credits' routes have bounds of their own. FastAPI has none: it reads a body before it asks who sends it.
app.add_middleware(RequestBodyLimitMiddleware, max_body_size=256 * 1024)


# --- who is asking


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(401, "sign in first", headers={"WWW-Authenticate": "Bearer"})
    return token


Authorization = Annotated[str | None, Header()]


def current_user(authorization: Authorization = None) -> uuid.UUID:
    user_id = signing.user_of(settings.secret, _bearer(authorization))
    if user_id is None:
        raise HTTPException(401, "this token is not one of ours", headers={"WWW-Authenticate": "Bearer"})
    return user_id


def require_service(authorization: Authorization = None) -> None:
    if not hmac.compare_digest(_bearer(authorization).encode(), settings.service_token.encode()):
        raise HTTPException(403, "for services")


def require_admin(authorization: Authorization = None) -> str:
    if not hmac.compare_digest(_bearer(authorization).encode(), settings.admin_token.encode()):
        raise HTTPException(403, "for administrators")
    return "admin"


def the_ledger(request: Request) -> AsyncLedger:
    ledger: AsyncLedger = request.app.state.ledger
    return ledger


def the_jobs(request: Request) -> JobTable:
    jobs: JobTable = request.app.state.jobs
    return jobs


Ledger = Annotated[AsyncLedger, Depends(the_ledger)]
Jobs = Annotated[JobTable, Depends(the_jobs)]
User = Annotated[uuid.UUID, Depends(current_user)]

# --- the credits' routes, all of them

app.include_router(
    credits_router(the_ledger, current_user=current_user, require_service=require_service, require_admin=require_admin),
    prefix="/api/v1/credits",
)
app.include_router(
    recharge_router(the_ledger, current_user=current_user, require_admin=require_admin), prefix="/api/v1/recharge"
)
app.include_router(health_router(the_ledger))
app.include_router(metrics_router(registry))

# --- the product


class SignIn(BaseModel):
    name: str = Field(min_length=1, max_length=50)


class VideoIn(BaseModel):
    prompt: str = Field(max_length=1000)
    seconds: int = Field(ge=1, le=60)


class SummaryIn(BaseModel):
    text: str = Field(min_length=1, max_length=10_000)


def success(data: Any, status: int = 200) -> JSONResponse:
    return JSONResponse({"code": status, "message": "Success", "data": data}, status)


@app.post("/api/v1/sign-in")
async def sign_in(who: SignIn) -> JSONResponse:
    """Whoever says a name gets its account: this is an example."""
    user_id = uuid.uuid5(uuid.NAMESPACE_URL, who.name)
    return success({"userId": str(user_id), "token": signing.token(settings.secret, user_id)})


#: Not `Header(...)`: that would make another text of a key in Chinese, and take the first of two.
Key = Annotated[str | None, Depends(idempotency_key)]


def job_id_of(user: uuid.UUID, key: str | None) -> uuid.UUID:
    """The same job for the same key: so a request can be repeated."""
    return uuid.uuid4() if key is None else uuid.uuid5(user, key)


async def known(jobs: JobTable, job_id: uuid.UUID, kind: str, asked: dict[str, Any]) -> AiJob | None:
    """The job that this request has made before, if it has."""
    found = await jobs.get(job_id)
    if found is not None and (found.kind, found.asked) != (kind, asked):
        raise HTTPException(409, "this Idempotency-Key was used for another request")
    return found


async def queue(publish: Callable[[], Any]) -> None:
    """Puts a job into the queue. Where that fails the request can be repeated: a job that is queued twice is done
    once."""
    try:
        await run_in_threadpool(publish)
    except worker.QUEUE_ERRORS as error:
        raise HTTPException(503, "the queue is away; try again", headers={"Retry-After": "1"}) from error


def accepted(job_id: uuid.UUID, held: Consumption) -> JSONResponse:
    return success({"jobId": str(job_id), "consumptionId": str(held.id), "credits": held.amount}, 202)


@app.post("/api/v1/ai/videos", status_code=202)
async def make_video(video: VideoIn, ledger: Ledger, jobs: Jobs, user: User, key: Key = None) -> JSONResponse:
    """A job for the AI service, which calls back."""
    job_id, asked = job_id_of(user, key), video.model_dump()
    found = await known(jobs, job_id, "video", asked)
    if found is None:
        held = await ledger.consume(
            user,
            "video_generation",
            video.seconds,
            ttl=settings.hold_ttl,
            reference=str(job_id),
            idempotency_key=f"ai-job:{job_id}",
        )
        await jobs.add(job_id, user, "video", asked, held.id)
    else:
        held = await ledger.get_consumption(found.consumption_log_id)
    if found is None or found.status == "queued":
        arguments = (str(job_id), video.prompt, video.seconds)
        await queue(partial(worker.submit_video.apply_async, arguments))
    return accepted(job_id, held)


@app.post("/api/v1/ai/summaries", status_code=202)
async def make_summary(text: SummaryIn, ledger: Ledger, jobs: Jobs, user: User, key: Key = None) -> JSONResponse:
    """A job that a worker does: a charged task."""
    job_id, asked = job_id_of(user, key), text.model_dump()
    arguments, task_id = (str(user), text.text), str(job_id)
    found = await known(jobs, job_id, "summary", asked)
    if found is None:
        held = await run_in_threadpool(worker.summarize.hold, arguments, task_id=task_id)
        await jobs.add(job_id, user, "summary", asked, held.id)
    else:
        held = await ledger.get_consumption(found.consumption_log_id)
    if held.status == "pending":
        await queue(partial(worker.summarize.apply_async, arguments, task_id=task_id, consumption_id=held.id))
    return accepted(job_id, held)


def end_of_task(job_id: uuid.UUID) -> tuple[str, dict[str, Any] | None]:
    """What Celery knows of a summary."""
    task = worker.summarize.AsyncResult(str(job_id))
    state, result = task.state, task.result
    if state == "SUCCESS":
        return "succeeded", result
    return ("failed", {"error": str(result)}) if state in ("FAILURE", "REVOKED") else ("queued", None)


@app.get("/api/v1/ai/jobs/{job_id}")
async def get_job(job_id: uuid.UUID, ledger: Ledger, jobs: Jobs, user: User) -> JSONResponse:
    """How a job stands, and what it has cost."""
    job = await jobs.get(job_id)
    if job is None or job.user_id != user:
        raise HTTPException(404, "no such job")
    status, result = job.status, job.result
    if status == "queued" and job.kind == "summary":
        status, result = await run_in_threadpool(end_of_task, job.id)
    paid = await ledger.get_consumption(job.consumption_log_id)
    if status == "failed" and paid.status == "pending":
        # Celery tells of a failure before it lets the credits be released: its user is told when they are back.
        status, result = "queued", None
    if status == "queued" and paid.status == "expired":
        # Whatever becomes of it, it is not charged any more.
        status = "expired"
    if status != job.status:
        await jobs.end(job_id, status, result)
    return success(
        {
            "jobId": str(job.id),
            "kind": job.kind,
            "status": status,
            "result": result,
            "credits": {"status": paid.status, "held": paid.amount, "charged": paid.captured - paid.reversed},
        }
    )


@app.post("/api/v1/ai/callbacks")
async def callback(request: Request, ledger: Ledger, jobs: Jobs) -> JSONResponse:
    """What the AI service has to say: possibly twice, possibly late, and only if it is really the AI service."""
    body = await request.body()
    if not signing.is_genuine(settings.secret, body, request.headers):
        raise HTTPException(401, "this signature is not the AI service's")
    # What was used is a price: no float comes of it.
    message = json.loads(body, parse_float=Decimal)
    job = await jobs.get(uuid.UUID(message["jobId"]))
    if job is None:
        raise HTTPException(404, "no such job")
    # Once its credits have expired a job is over, and its user has perhaps been told so: nothing is charged any more.
    # Where the database is away this raises, the answer is a 503, and the service calls again.
    books = AsyncJobs(ledger, late="reject")
    if message["status"] == "succeeded":
        settled = await books.on_job_succeeded(job.consumption_log_id, message["seconds"])
    else:
        settled = await books.on_job_failed(job.consumption_log_id, message["error"])
    # What the books say is what the user is told.
    if settled.outcome == "charged":
        await jobs.end(job.id, "succeeded", {"url": message.get("url")})
    elif settled.outcome == "released":
        await jobs.end(job.id, "failed", {"error": message.get("error")})
    else:
        await jobs.end(job.id, "expired", None)
    return success({"outcome": settled.outcome, "charged": settled.charged})
