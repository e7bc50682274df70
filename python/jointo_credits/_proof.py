"""The check of a proof, which needs no ledger and no database."""

from __future__ import annotations

from ._native import check_proof as _check
from ._results import Proved

__all__ = ["check_proof"]


def check_proof(anchor: str, proof: str, *, public_key: str | None = None, unsigned: bool = False) -> Proved:
    """Checks what :meth:`Ledger.prove` gave against an anchor: with these texts and the public key alone.

    Args:
        anchor: The anchor, from where it was kept.
        proof: The proof.
        public_key: Whose anchors are believed: 64 hexadecimal digits, or PEM.
        unsigned: Believes an anchor that is not signed.

    Raises:
        ValidationError: One of them is not what it should be; it says what is wrong.
    """
    return _check(anchor, proof, public_key, unsigned)
