"""Plan: what to do, what is to be expected of it, and what of doing nothing."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

__all__ = ["Plan"]


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Answer of `tsode.control.plan`.

    Parameters
    ----------
    series : label
    events : DataFrame or None
        All events, those given and the planned ones, as `predict` and `what_if` take them.
    known : DataFrame or None
        What is known along time, with the planned values of inputs, likewise.
    doses : DataFrame
        The planned doses alone.
    inputs : DataFrame or None
        The planned values of inputs alone.
    forecast, without : DataFrame
        Under the plan, and under nothing more: a row for each time, and of each channel the mean and bands
        ``channel-lo-50``, ``channel-hi-50``, ``channel-lo-90``, ``channel-hi-90`` over the draws, which are of the
        signal, without the noise of a measurement. Both are of the same draws.
    probabilities : DataFrame
        A row for each probability that was stated: ``stated``, ``planned``, ``without`` (of doing nothing) and
        ``is_kept``.
    score, score_without : float
        The objective, small being good: of a target range, the probability of being outside.
    residual : float
        Of the maximum principle, before amounts were rounded: the derivative of the Hamiltonian by the actions less
        the forces of bounds and limits, as a share of the largest derivative at the starts of the search. 0 where the
        conditions of first order hold.
    status : {"kept", "closest"}
        Whether all that was asked is kept.
    n_draws : int
    notes : list of str
        What to know before acting on it.
    """

    series: Hashable
    events: pd.DataFrame | None
    known: Any
    doses: pd.DataFrame
    inputs: pd.DataFrame | None
    forecast: pd.DataFrame
    without: pd.DataFrame
    probabilities: pd.DataFrame
    score: float
    score_without: float
    residual: float
    status: str
    n_draws: int
    notes: list[str] = field(default_factory=list)
    _again: Callable[..., Plan] | None = None
    _problem: Any = None
    _candidate: Any = None

    def replan(
        self, X: Any = None, *, given: Any = None, actions: Any = None, times: Any = None, horizon: Any = None,
        random_state: Any = None,
    ) -> Plan:  # fmt: skip
        """Plan the rest anew, after new rows; see `tsode.control.replan`."""
        assert self._again is not None
        return self._again(X, given=given, actions_=actions, times=times, horizon=horizon, random_state=random_state)

    def summary(self) -> pd.DataFrame:
        """Every probability that was stated, under the plan and under nothing more."""
        return self.probabilities

    def __repr__(self) -> str:
        lines = [f"Plan of series {self.series!r}: {'kept' if self.status == 'kept' else 'the closest there is'}"]
        if len(self.doses):
            lines += ["", self.doses.to_string(index=False)]
        if self.inputs is not None:
            lines += ["", self.inputs.to_string(index=False)]
        if not len(self.doses) and self.inputs is None:
            lines += ["", "nothing is given"]
        if len(self.probabilities):
            lines += ["", self.probabilities.round(3).to_string(index=False)]
        lines += ["", f"score {self.score:.4g} (nothing more: {self.score_without:.4g}), {self.n_draws} draws"]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])
