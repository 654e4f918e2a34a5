"""Fixed points of a family of flows or maps as a curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tsode.stability.arclength import Curve, Point
from tsode.stability.family import Family, Scaling

__all__ = ["RestCurve"]


class RestCurve(Curve):
    """Where the slope of a scaled family is zero: the unknowns are its state and the parameter."""

    def __init__(self, family: Family, scaling: Scaling, t: float = 0.0) -> None:
        self.family, self.scaling, self.t = family.scaled(scaling), scaling, t
        self.has_multipliers = family.is_map
        self.weights = np.ones(len(family.names) + 1)

    def linearise(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = torch.from_numpy(x)
        value, by_state, by_parameter = self.family.linearise(self.t, y[None, :-1], y[-1:])
        return value[0], np.concatenate([by_state[0], by_parameter[0][:, None]], axis=1)

    def spectrum(self, x: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        square = jacobian[:, :-1]
        values: np.ndarray = np.linalg.eigvals(square + np.eye(len(square)) if self.has_multipliers else square)
        return values.astype(complex)

    def describe(self, point: Point) -> dict[str, Any]:
        states = dict(zip(self.family.names, self.scaling.scale * point.x[:-1]))
        return {"parameter": self.scaling.parameter(float(point.x[-1])), **states}
