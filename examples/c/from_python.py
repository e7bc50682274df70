#!/usr/bin/env python3
"""The life of a credit from Python, with nothing but ctypes, credits.h and libcredits: the way into any language that
can call C. (Python programs have a package of their own, which this one does without.)

    python3 from_python.py [URL]

An installed library is found as every shared library is; LD_LIBRARY_PATH says where else to look.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_int64, c_size_t, c_ubyte, c_void_p
from typing import Any

# By the name that ends in the ABI's version: another one has other structs.
LIBRARY = "libcredits.so.0.1"

OK = 0
INSUFFICIENT_CREDITS = 3
SOURCE_PURCHASE = 1
TEXT = 256


class Uuid(ctypes.Structure):
    """credits_uuid."""

    _fields_ = (("bytes", c_ubyte * 16),)


class Options(ctypes.Structure):
    """A struct that comes in begins with its size, and is zero where nothing was said."""

    def __init__(self, **given: Any) -> None:
        super().__init__(size=ctypes.sizeof(self), **given)


class GrantOptions(Options):
    """credits_grant_options."""

    _fields_ = (
        ("size", c_size_t),
        ("user_id", Uuid),
        ("amount", c_int64),
        ("source", c_int32),
        ("priority", c_int32),
        ("expires_at", c_int64),
        ("cost_minor", c_int64),
        ("cost_currency", c_char_p),
        ("reference", c_char_p),
        ("idempotency_key", c_char_p),
    )


class ConsumeOptions(Options):
    """credits_consume_options."""

    _fields_ = (
        ("size", c_size_t),
        ("user_id", Uuid),
        ("amount", c_int64),
        ("feature", c_char_p),
        ("quantity", c_char_p),
        ("quantities", c_void_p),
        ("quantities_count", c_size_t),
        ("attributes", c_void_p),
        ("attributes_count", c_size_t),
        ("ttl", c_int64),
        ("reference", c_char_p),
        ("metadata", c_char_p),
        ("idempotency_key", c_char_p),
    )


class ConfirmOptions(Options):
    """credits_confirm_options."""

    _fields_ = (
        ("size", c_size_t),
        ("consumption_id", Uuid),
        ("amount", c_int64),
        ("quantity", c_char_p),
        ("quantities", c_void_p),
        ("quantities_count", c_size_t),
        ("overage", c_int32),
        ("late", c_int32),
        ("idempotency_key", c_char_p),
    )


class Consumption(ctypes.Structure):
    """credits_consumption."""

    _fields_ = (
        ("id", Uuid),
        ("user_id", Uuid),
        ("status", c_int32),
        ("has_metadata", c_int32),
        ("amount", c_int64),
        ("captured", c_int64),
        ("reversed", c_int64),
        ("borrowed", c_int64),
        ("created_at", c_int64),
        ("expires_at", c_int64),
        ("settled_at", c_int64),
        ("feature", c_char * TEXT),
        ("reference", c_char * TEXT),
    )


class Balance(ctypes.Structure):
    """credits_balance."""

    _fields_ = (
        ("user_id", Uuid),
        ("available", c_int64),
        ("held", c_int64),
        ("debt", c_int64),
        ("credit_limit", c_int64),
        ("granted", c_int64),
        ("spent", c_int64),
        ("next_expiring", c_int64),
        ("next_expires_at", c_int64),
        ("seq", c_int64),
        ("at", c_int64),
    )


# What each function takes before its last argument, which is a place for the error. What it gives is a number.
CALLS: dict[str, tuple[Any, ...]] = {
    "credits_open": (c_char_p, c_void_p, POINTER(c_void_p)),
    "credits_migrate": (c_void_p,),
    "credits_uuid_parse": (c_char_p, POINTER(Uuid)),
    "credits_grant": (c_void_p, POINTER(GrantOptions), c_void_p),
    "credits_consume": (c_void_p, POINTER(ConsumeOptions), POINTER(Consumption)),
    "credits_confirm": (c_void_p, POINTER(ConfirmOptions), POINTER(Consumption)),
    "credits_get_balance": (c_void_p, Uuid, c_int64, POINTER(Balance)),
}


class Refused(Exception):
    """A call that did not succeed, with its number, and what to do about it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Library:
    """libcredits. While a call waits for the database, Python's other threads go on."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        for name, takes in CALLS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = (*takes, POINTER(c_void_p)), c_int32
        self._library.credits_error_message.argtypes = (c_void_p,)
        self._library.credits_error_message.restype = c_char_p
        self._library.credits_error_free.argtypes, self._library.credits_error_free.restype = (c_void_p,), None
        self._library.credits_close.argtypes, self._library.credits_close.restype = (c_void_p,), None

    def call(self, name: str, *arguments: Any) -> None:
        """Makes a call, and turns its error, which is ours to free, into an exception."""
        error = c_void_p()
        code = getattr(self._library, name)(*arguments, byref(error))
        if code != OK:
            message = self._library.credits_error_message(error).decode()
            self._library.credits_error_free(error)
            raise Refused(code, message)

    def close(self, ledger: c_void_p) -> None:
        """Frees a ledger."""
        self._library.credits_close(ledger)


def main() -> None:
    """Credits are bought, held for a job, and charged for what was used; then there are too few."""
    library, ledger, user = Library(), c_void_p(), Uuid()
    job, balance = Consumption(), Balance()
    url = sys.argv[1] if len(sys.argv) > 1 else "sqlite::memory:"
    library.call("credits_open", url.encode(), None, byref(ledger))
    library.call("credits_migrate", ledger)
    library.call("credits_uuid_parse", b"0191d8f0-0000-7000-8000-000000000001", byref(user))

    grant = GrantOptions(user_id=user, amount=100, source=SOURCE_PURCHASE, idempotency_key=b"order-42")
    library.call("credits_grant", ledger, byref(grant), None)
    consume = ConsumeOptions(user_id=user, amount=75, feature="图片生成".encode())
    library.call("credits_consume", ledger, byref(consume), byref(job))
    confirm = ConfirmOptions(consumption_id=job.id, amount=60)
    library.call("credits_confirm", ledger, byref(confirm), byref(job))
    library.call("credits_get_balance", ledger, user, 0, byref(balance))
    print(f"{job.feature.decode()}: {job.captured} charged, {balance.available} left")

    consume.amount = 1_000_000
    try:
        library.call("credits_consume", ledger, byref(consume), byref(job))
    except Refused as refused:
        if refused.code != INSUFFICIENT_CREDITS:
            raise
        print(refused)
    library.close(ledger)


if __name__ == "__main__":
    main()
