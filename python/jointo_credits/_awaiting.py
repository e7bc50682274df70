"""How the async ledger gets an answer: through an inbox for each event loop.

The loop's own thread polls a call. Where it has to wait, the library's threads put it into the inbox when it can go
on, and make a file descriptor readable, without taking the GIL; the loop then polls all that are there. A call whose
task was cancelled is dropped: its command has been done or not, as if nobody had left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ._native import Inbox, Operation

T = TypeVar("T")

_inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = WeakKeyDictionary()


def _inbox(loop: asyncio.AbstractEventLoop) -> Inbox:
    inbox = _inboxes.get(loop)
    if inbox is None:
        for closed in [other for other in list(_inboxes) if other.is_closed()]:
            _inboxes.pop(closed, None)
        inbox = Inbox()
        loop.add_reader(inbox.fileno(), inbox.deliver)
        _inboxes[loop] = inbox
    return inbox


async def run(operation: Operation[T]) -> T:
    """The answer."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    operation.start(_inbox(loop), future)
    try:
        return await future
    except BaseException:
        # It may still wait for its turn, and hold a place that others want.
        operation.cancel()
        raise


async def pause() -> None:
    """Lets the event loop's others have their turn."""
    await asyncio.sleep(0)


async def _to_its_end(task: asyncio.Future[T]) -> None:
    """Waits for it, however often the waiting task is cancelled; what came of it is in the task."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


async def _uncut(task: asyncio.Future[T]) -> T:
    """What comes of it; a cancellation goes on only once it has ended."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _to_its_end(task)
        raise


async def finish(call: Coroutine[Any, Any, T]) -> T:
    """Makes a call that a cancellation must not cut off; the cancellation goes on afterwards."""
    return await _uncut(asyncio.ensure_future(call))


async def acquire(call: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, object]]) -> T:
    """Makes a call whose result must not get lost: it is undone where the task is cancelled meanwhile."""
    task = asyncio.ensure_future(call)
    try:
        return await _uncut(task)
    except asyncio.CancelledError:
        if not task.cancelled() and task.exception() is None:
            undoing = asyncio.ensure_future(undo(task.result()))
            await _to_its_end(undoing)
            if not undoing.cancelled():
                undoing.exception()  # looked at: where it failed, the hold expires by itself
        raise
