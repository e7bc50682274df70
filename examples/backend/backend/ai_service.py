"""A stand-in for somebody else's AI: a process of its own that is sometimes slow, fails, or falls silent.

``[slow]``, ``[fail]``, ``[silent]`` and ``[twice]`` in a prompt choose what happens; else chance does, as often as the
environment's ``AI_SLOW``, ``AI_FAIL``, ``AI_SILENT`` and ``AI_TWICE`` say (0 to 1).
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import httpx2 as httpx
from fastapi import BackgroundTasks, FastAPI, HTTPException
from pydantic import BaseModel

from .settings import settings
from .signing import signed

app = FastAPI(title="Somebody else's AI")
_jobs: set[str] = set()


class Video(BaseModel):
    jobId: str
    prompt: str
    seconds: int
    callbackUrl: str


class Text(BaseModel):
    text: str


def happens(what: str, prompt: str) -> bool:
    return f"[{what}]" in prompt or random.random() < float(os.environ.get(f"AI_{what.upper()}", "0"))


async def call_back(url: str, message: dict[str, Any]) -> None:
    """Until somebody takes it, as good services do."""
    async with httpx.AsyncClient() as client:
        for attempt in range(60):
            body, headers = signed(settings.secret, message)
            try:
                if (await client.post(url, content=body, headers=headers, timeout=5)).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(min(0.1 * 2**attempt, 2))


async def render(video: Video) -> None:
    await asyncio.sleep(2 if happens("slow", video.prompt) else 0.05)
    if happens("silent", video.prompt):
        return
    if happens("fail", video.prompt):
        message: dict[str, Any] = {"jobId": video.jobId, "status": "failed", "error": "显存不足"}
    else:
        # Often a little shorter than asked for: only that is charged.
        seconds = max(1, video.seconds - len(video.prompt) % 2)
        url = f"https://cdn.example/{video.jobId}.mp4"
        message = {"jobId": video.jobId, "status": "succeeded", "seconds": seconds, "url": url}
    for _ in range(2 if happens("twice", video.prompt) else 1):
        await call_back(video.callbackUrl, message)


@app.post("/videos", status_code=202)
async def videos(video: Video, background: BackgroundTasks) -> dict[str, str]:
    """Takes a job; the same one once."""
    if video.jobId not in _jobs:
        _jobs.add(video.jobId)
        background.add_task(render, video)
    return {"status": "accepted"}


@app.post("/summaries")
async def summaries(text: Text) -> dict[str, Any]:
    """Answers at once."""
    await asyncio.sleep(2 if happens("slow", text.text) else 0.02)
    if happens("fail", text.text):
        raise HTTPException(500, "the model has crashed")
    return {"summary": text.text[:20], "inputTokens": len(text.text), "outputTokens": min(len(text.text), 20)}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}
