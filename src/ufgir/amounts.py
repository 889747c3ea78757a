"""Amounts of memory and disk, as text and back."""

import re

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
KIND = "|".join(UNITS)
AMOUNT = rf"([\d.]+) ({KIND})"  # as torch and numpy write it: 2.00 GiB


def as_text(size: float) -> str:
    """`1.50 GiB`: bytes in the largest unit of which they fill one."""
    unit = max((name for name in UNITS if size >= UNITS[name]), key=UNITS.__getitem__, default="bytes")
    return f"{size:.0f} bytes" if unit == "bytes" else f"{size / UNITS[unit]:.2f} {unit}"


def find_amount(text: str, before: str = "", after: str = "") -> float | None:
    """Bytes that a text names between two patterns; None where it does not."""
    found = re.search(f"{before}{AMOUNT}{after}", text)
    return float(found[1]) * UNITS[found[2]] if found else None
