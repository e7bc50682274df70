"""How the sync ledger waits where greenlets share a thread: under gevent and eventlet.

A wait in C would stop every greenlet of the thread. So a call is run as an event loop runs it (`_awaiting.py`): the
library's threads make the inbox's file descriptor readable when a call can go on, and the hub watches that. Of the
greenlets that wait, one watches and delivers what is there for all of them; when its own answer is there it hands over
to another. So a hub is kept running by the calls that wait, and by nothing else of ours.

Whether greenlets share the thread is looked up at each call: the thread has a hub then. A thread without one waits in
C, and stops nobody.
"""

# Neither has types that count here, and either may be missing.
# pyright: basic

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ._native import Inbox, Operation

T = TypeVar("T")

_log = logging.getLogger("jointo_credits")


class _Gevent:
    """What is needed of gevent."""

    @staticmethod
    def hub() -> Any:
        """This thread's hub, where it has one and this is not the hub itself: that must not wait."""
        from gevent import getcurrent
        from gevent._hub_local import get_hub_if_exists

        hub = get_hub_if_exists()
        return None if hub is None or getcurrent() is hub else hub

    @staticmethod
    def until_readable(fd: int) -> None:
        from gevent.socket import wait_read

        wait_read(fd)

    @staticmethod
    def pause() -> None:
        from gevent import sleep

        sleep(0)

    @staticmethod
    def event() -> tuple[Callable[[], Any], Callable[[], Any]]:
        from gevent.event import Event

        event = Event()
        return event.wait, event.set


class _Eventlet:
    """What is needed of eventlet."""

    @staticmethod
    def hub() -> Any:
        from eventlet import getcurrent, hubs

        hub = getattr(hubs._threadlocal, "hub", None)
        return None if hub is None or getcurrent() is hub.greenlet else hub

    @staticmethod
    def until_readable(fd: int) -> None:
        from eventlet.hubs import trampoline

        trampoline(fd, read=True)

    @staticmethod
    def pause() -> None:
        from eventlet import sleep

        sleep(0)

    @staticmethod
    def event() -> tuple[Callable[[], Any], Callable[[], Any]]:
        from eventlet.event import Event

        event = Event()
        return event.wait, lambda: event.ready() or event.send()


class _Call:
    """A call that a greenlet waits for: what `Operation.start` needs of a future."""

    __slots__ = ("_wake", "error", "is_done", "result")

    def __init__(self) -> None:
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._wake: Callable[[], Any] | None = None

    def done(self) -> bool:
        return self.is_done

    def set_result(self, result: Any) -> None:
        self.is_done, self.result = True, result
        self.wake()

    def set_exception(self, error: BaseException) -> None:
        self.is_done, self.error = True, error
        self.wake()

    def cancel(self) -> None:
        """Its answer could not be given."""
        self.set_exception(RuntimeError("the answer of this call was cut off"))

    def wake(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def sleep(self, kind: Any) -> None:
        """Until somebody wakes it."""
        wait, self._wake = kind.event()
        try:
            wait()
        finally:
            self._wake = None


class _Post:
    """The inbox of a hub."""

    __slots__ = ("inbox", "is_watched", "process", "waiting")

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.process = os.getpid()
        self.is_watched = False
        #: In the order in which they came.
        self.waiting: dict[_Call, None] = {}

    def deliver(self) -> None:
        try:
            self.inbox.deliver()
        except Exception:
            # It concerns one call, which was told as well; the greenlet that delivers waits for another one.
            _log.exception("an answer of the ledger could not be delivered")

    def watch(self, call: _Call, kind: Any) -> None:
        """Delivers until this call's own answer is there."""
        self.is_watched = True
        try:
            while not call.is_done:
                kind.until_readable(self.inbox.fileno())
                if os.getpid() != self.process:
                    # Forked meanwhile: what is readable is for the parent.
                    call.cancel()
                else:
                    self.deliver()
        finally:
            self.is_watched = False

    def leave(self, call: _Call) -> None:
        """Somebody else watches from now on, where nobody does."""
        self.waiting.pop(call, None)
        if not self.is_watched:
            for other in self.waiting:
                other.wake()
                break


_posts: WeakKeyDictionary[Any, _Post] = WeakKeyDictionary()
#: Those of before a fork: closing their descriptors is their parent's business.
_inherited: list[_Post] = []


def _post(hub: Any) -> _Post:
    post = _posts.get(hub)
    if post is None or post.process != os.getpid():
        if post is not None:
            _inherited.append(post)
        post = _posts[hub] = _Post()
    return post


def _run(kind: Any, hub: Any, operation: Operation[T]) -> T:
    post, call = _post(hub), _Call()
    # Any object with these methods will do.
    future: Any = call
    post.waiting[call] = None
    try:
        operation.start(post.inbox, future)
        while not call.is_done:
            if post.is_watched:
                call.sleep(kind)
            else:
                post.watch(call, kind)
    except BaseException:
        # Killed, or its time is over. It may still wait for its turn, and hold a place that others want.
        operation.cancel()
        raise
    finally:
        post.leave(call)
    if call.error is not None:
        raise call.error
    result: T = call.result
    return result


def _shared() -> tuple[Any, Any] | None:
    """What greenlets share this thread, and their hub."""
    for name, kind in (("gevent._hub_local", _Gevent), ("eventlet.hubs", _Eventlet)):
        if name in sys.modules:
            hub = kind.hub()
            if hub is not None:
                return kind, hub
    return None


def run(operation: Operation[T]) -> T:
    """The answer; other greenlets of this thread go on meanwhile, where it has any."""
    shared = _shared()
    return operation.wait() if shared is None else _run(*shared, operation)


def pause() -> None:
    """Lets others of this thread have their turn, where there are any."""
    shared = _shared()
    if shared is not None:
        shared[0].pause()
