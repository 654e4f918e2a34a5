"""Table of the natural parameters of an exact intensity, with their standard errors."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from tsode.core.series import ROWS_AT_ONCE
from tsode.errors import ParameterError
from tsode.intensities.base import Intensity
from tsode.training.maximum_likelihood import natural_estimates
from tsode.training.stream_segments import Segment, batched

__all__ = ["estimates_table"]


def estimates_table(
    module: Intensity, marks: Sequence[Hashable], segments: Sequence[Segment], until: str, unit: float
) -> pd.DataFrame:
    """One row a parameter: ``parameter, mark, source, estimate, standard_error``, in `unit` of model time.

    Raises
    ------
    ParameterError
        If the intensity is not an exact one.
    """
    if not module.is_exact:
        raise ParameterError(
            f"A {type(module).__name__} has no parameters that mean anything one by one: fit an exact intensity, such "
            "as intensity='hawkes'."
        )
    rows = []
    for name, (estimate, error) in natural_estimates(module, batched(segments, ROWS_AT_ONCE), until, unit).items():
        for place in np.ndindex(*estimate.shape):
            mark, source = [*(marks[k] for k in place), None, None][:2]
            rows.append((name, mark, source, float(estimate[place]), float(error[place])))
    return pd.DataFrame(rows, columns=["parameter", "mark", "source", "estimate", "standard_error"])
