"""Panels of Ornstein-Uhlenbeck series that differ in rate, level and noise, for tests of influence."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["ou_panel"]


def ou_panel(n: int, m: int, seed: int = 0) -> pd.DataFrame:
    rng, parts = np.random.default_rng(seed), []
    for i in range(n):
        times = np.sort(rng.uniform(0.0, 10.0, m))
        rate, middle, noise = 0.5 * np.exp(0.5 * rng.normal()), rng.normal(), 0.6 * np.exp(0.4 * rng.normal())
        x, last, seen = middle, 0.0, []
        for time in times:
            kept = np.exp(-rate * (time - last))
            x = middle + (x - middle) * kept + noise * np.sqrt((1.0 - kept**2) / (2.0 * rate)) * rng.normal()
            seen.append(x + 0.1 * rng.normal())
            last = time
        parts.append(pd.DataFrame({"unique_id": f"s{i:02d}", "ds": times, "y": seen}))
    return pd.concat(parts, ignore_index=True)
