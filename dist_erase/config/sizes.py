"""Sizes as people write them: 50GB."""

from __future__ import annotations

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZE = r"^\d+(\.\d+)?(B|KB|MB|GB|TB)$"  # what a field of the configuration accepts


def parse_size(text: str) -> int:
    """`50GB` → 50000000000; units are decimal: B, KB, MB, GB, TB."""
    digits = text.rstrip("BKMGT")
    return round(float(digits) * _UNITS[text[len(digits) :]])
