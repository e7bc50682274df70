"""How the async ledger gets an answer: through an inbox for each event loop.

The library's threads put answers into the inbox and make a file descriptor readable, without taking the GIL; the loop
then gives all that have arrived to their futures. A future that was cancelled meanwhile is passed over: the command has
been done or not, as if nobody had left.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar
from weakref import WeakKeyDictionary

from ._native import Inbox, Operation

T = TypeVar("T")

_inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = WeakKeyDictionary()


def _inbox(loop: asyncio.AbstractEventLoop) -> Inbox:
    inbox = _inboxes.get(loop)
    if inbox is None:
        inbox = Inbox()
        loop.add_reader(inbox.fileno(), inbox.deliver)
        _inboxes[loop] = inbox
    return inbox


async def run(operation: Operation[T]) -> T:
    """The answer."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    operation.start(_inbox(loop), future)
    return await future
