#!/usr/bin/env python3
"""Compares the structs of examples/c/from_python.py with include/credits.abi, which has those of the header."""

import ctypes
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    example = runpy.run_path(str(ROOT / "examples/c/from_python.py"))
    ours: dict[str, list[str]] = {}
    for name, struct in example.items():
        if isinstance(struct, type) and issubclass(struct, ctypes.Structure) and hasattr(struct, "_fields_"):
            in_c = "credits" + re.sub("([A-Z])", r"_\1", name).lower()
            ours[in_c] = [f"struct {in_c} {ctypes.sizeof(struct)}"]
            for field, *_ in struct._fields_:
                place = getattr(struct, field)
                ours[in_c].append(f"field {in_c}.{field} {place.offset} {place.size}")

    lines = (ROOT / "include/credits.abi").read_text(encoding="utf-8").splitlines()
    for in_c, layout in ours.items():
        header = [line for line in lines if re.match(rf"(struct {in_c}|field {in_c}\.\w+) ", line)]
        if layout != header:
            sys.exit(f"examples/c/from_python.py has {layout}, and the header {header}")
    if not ours:
        sys.exit("examples/c/from_python.py has no structs")
    print(f"{len(ours)} structs of from_python.py are those of the header")


if __name__ == "__main__":
    main()
