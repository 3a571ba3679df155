"""How far a share of n cases may be from the truth."""

from __future__ import annotations

import math


def wilson(share: float, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval (1927): honest near 0 and 1, where 0 of 36 is not 0 ± 0.

    Args:
        share: hits / n, in 0..1.
        n: cases, at least 1.
        z: normal quantile; the default gives 95 %.
    """
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The bounds enclose the share; at 0 and 1 rounding would leave it outside by 1e-19.
    low = min(share, max(0.0, (centre - spread) / scale))
    return low, max(share, min(1.0, (centre + spread) / scale))
