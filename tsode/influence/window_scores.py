"""Objective of training on windows, tilted so that the fitted weights are its minimum, and what it is without a part.

Training of a large model stops long before the minimum of what it has learned from, where forecasts would be poor. So
the question is not where that minimum moves, but where the fitted weights go when a series, or a
value, no longer pulls at them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tsode.core.batch import IrregularBatch
from tsode.core.series import Series
from tsode.errors import DataError, SolverError
from tsode.influence.left_out import LeftOut
from tsode.training.objective import FilterObjective
from tsode.training.windows import Window, validation_windows

__all__ = ["WindowObjective"]

NEAR = 1e-5  # step of differences of slopes, in float64
LEAST_HOLD, SHARE_OF_STEEPEST, TIMES_LOWEST = 1.0, 0.01, 5.0
FLAT = 1e-2  # largest slope at a minimum, in coordinates of unit curvature
MOST_STEPS = 300
FEWEST_WINDOWS = 200
MOST_AXES = 100  # of the space in which curvature is measured, to begin with


class WindowObjective:
    """Sum of scores over windows, less its slope at the fitted weights, plus what holds these.

    ``F(w) - F'(w0) (w - w0) + hold / 2 |w - w0|^2``, of which a series takes its own scores out of ``F`` but not out of
    the slope at ``w0``. A value is taken out of every window that it is in, as target and as history, and the scores of
    each kind stay means over what is left, times the number of targets that there were. All windows are fixed, and
    nothing else is dropped from them. `hold` is 1 % of the steepest second derivative along the slopes of what is left
    out, or five times the most negative one, so that the minimum stays one.

    Parameters
    ----------
    module : JumpFilter or Ensemble
        As it was fitted; a copy in double precision is worked on. An expert and a posterior of readouts stay.
    series : sequence of Series
    objective : FilterObjective
        Without folds.
    max_context : int

    References
    ----------
    Bae, Ng, Lo, Ghassemi and Grosse, "If influence functions are the answer, then what is the question?", NeurIPS 2022,
    section 4: the proximal Bregman objective; here its loss is made flat in the weights, not in the outputs.
    """

    def __init__(
        self, module: torch.nn.Module, series: Sequence[Series], objective: FilterObjective, max_context: int
    ) -> None:
        self.module = copy.deepcopy(module).to("cpu", torch.float64).eval()
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.centre = parameters_to_vector(self._parameters).detach().clone()
        self.n, self.hold, self._objective, self._series = len(series), 0.0, objective, series
        long = [k for k, one in enumerate(series) if len(one.times) > 1]
        windows = validation_windows(
            [series[k] for k in long], None, objective.horizon, max_context, torch.float64, 10**9, FEWEST_WINDOWS
        )
        if not windows:
            raise DataError("No series has an observation time on either side of a cut, so none has had an influence.")
        (self._window,) = windows
        assert self._window.number is not None
        self._number = torch.tensor(long)[self._window.number]
        self._tilt = torch.zeros_like(self.centre)
        self._tilt = self.value(self.centre)[1]
        if not bool(self._tilt.isfinite().all()):
            raise SolverError("The scores of training at the fitted weights are not finite: solves of windows fail.")

    def place(self, point: Tensor) -> None:
        """Give the module these parameters (p)."""
        vector_to_parameters(point, self._parameters)

    def value(self, point: Tensor, out: LeftOut | None = None) -> tuple[float, Tensor]:
        """Objective and its gradient (p) at a point (p), with everything or without a part."""
        window = self._window if out is None else self._without(out)
        self.place(point)
        number = (self._window if out is None or out.row is not None else window).targets.mask.sum()
        loss = number * self._objective(self.module, window)[0]  # type: ignore[arg-type]
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        slope = torch.cat([
            torch.zeros(p.numel()).to(p) if part is None else part.flatten()
            for p, part in zip(self._parameters, found)
        ])  # fmt: skip
        away = point - self.centre
        value = float(loss.detach()) - float(self._tilt @ away) + 0.5 * self.hold * float(away @ away)
        return value, slope - self._tilt + self.hold * away

    def _without(self, out: LeftOut) -> Window:
        """The windows without a part of what is in them."""
        is_own = self._number == out.k
        if out.row is None:
            return self._window.select(~is_own)
        time = self._series[out.k].times[out.row]

        def hide(batch: IrregularBatch) -> IrregularBatch:
            mask = batch.mask.clone()
            mask[..., out.channel] &= ~(is_own[:, None] & (batch.times == time))
            return replace(batch, mask=mask)

        window = self._window
        return Window(hide(window.context), hide(window.targets), hide(window.hidden), window.number)

    def start(self, asked: Sequence[LeftOut]) -> tuple[Tensor, bool]:
        """The minimum with all series, which the fitted weights are; the curvature there is measured and kept.

        It is projected to the slopes of what is going to be left out and to what is left of Newton's equations when
        they are solved in the span of these: two blocks of a Krylov space, of the leading directions.
        """
        slopes = torch.stack([self.value(self.centre, out)[1] for out in asked])  # (n p)
        space = _span(slopes)[:, :MOST_AXES]
        bent = self._products(space)  # (r p)
        curves = torch.linalg.eigvalsh(_even(bent @ space))
        self.hold = _hold(curves)
        bent = bent + self.hold * space.mT
        weights = torch.linalg.solve(_even(bent @ space), -(slopes @ space).mT).mT  # (n r)
        further = slopes + weights @ bent
        space = _span(torch.cat([space.mT, _span(further)[:, :MOST_AXES].mT]))
        values, vectors = torch.linalg.eigh(_even(self._products(space) @ space))
        bare = values - self.hold  # a wider span shows more of what bends the other way
        self.hold = max(self.hold, _hold(bare))
        self._curves = bare + self.hold
        self._axes = space @ vectors  # (p r)
        self._slopes = dict(zip(asked, slopes))
        return self.centre, True

    def move(self, out: LeftOut, is_warm: bool) -> tuple[Tensor, bool]:
        """Minimum without a part (p): Newton's step to it, or where a search from the fitted weights ends."""
        if not is_warm:
            slope = self._slopes[out]
            along = self._axes.mT @ slope
            across = slope - self._axes @ along
            return self.centre - self._axes @ (along / self._curves) - across / self.hold, True
        return self.least(out, self._natural)

    def least(self, out: LeftOut, natural: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Tensor, bool]:
        """Minimum without a part by L-BFGS in other coordinates, and whether it was reached.

        Parameters
        ----------
        out : LeftOut
        natural : callable
            Symmetric linear map (p) -> (p) from these coordinates to the weights' own.
        """

        def value(x: np.ndarray) -> tuple[float, np.ndarray]:
            found, slope = self.value(self.centre + natural(torch.from_numpy(x)), out)
            return found, natural(slope).numpy()

        # the slope's size in coordinates whose least curvature is 1, or that of `hold`
        flat = FLAT * (1.0 if natural == self._natural else self.hold**0.5)
        options = {"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "maxcor": 20, "ftol": 0.0, "gtol": flat}
        found = minimize(value, np.zeros(len(self.centre)), jac=True, method="L-BFGS-B", options=options)
        reached = float(np.abs(found.jac).max()) <= flat
        return self.centre + natural(torch.from_numpy(found.x)), reached

    def _products(self, space: Tensor) -> Tensor:
        """Second derivatives times each column of a basis (p r), by differences of slopes: (r p)."""
        base = self.value(self.centre)[1]
        return torch.stack([(self.value(self.centre + NEAR * axis)[1] - base) / NEAR for axis in space.mT])

    def _natural(self, x: Tensor) -> Tensor:
        """Weights' change from coordinates in which second derivatives are about 1."""
        scale = self.hold**-0.5
        return scale * x + self._axes @ ((self._curves**-0.5 - scale) * (self._axes.mT @ x))


def _hold(curves: Tensor) -> float:
    """What holds the weights where second derivatives (r) are these, ascending."""
    return max(LEAST_HOLD, SHARE_OF_STEEPEST * float(curves[-1]), -TIMES_LOWEST * float(curves[0]))


def _span(rows: Tensor) -> Tensor:
    """Orthonormal basis (p r) of what rows (n p) span, the leading directions first."""
    _, sizes, axes = torch.linalg.svd(rows, full_matrices=False)
    return axes[sizes > 1e-9 * sizes[0].clamp(min=1e-300)].mT


def _even(square: Tensor) -> Tensor:
    return 0.5 * (square + square.mT)
