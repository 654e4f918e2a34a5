"""Branches that have been followed, each once, and those that cross them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tsode.errors import SolverError
from tsode.stability.arclength import Curve, Event, Point, Segment, Visit, distance, trace
from tsode.stability.branch_points import events_within, start_along

__all__ = ["Branch", "Branches"]

SAME = 1e-6  # of the scale: a start closer to a branch than this lies on it
BESIDE = 1e-3  # step from a branch point onto the other branch
MOST_BRANCHES = 100


@dataclass(frozen=True, eq=False)
class Branch:
    """Points in their order with their arclengths, and why it ends where."""

    visits: list[tuple[Visit, float]]
    first: str
    last: str


@dataclass(eq=False)
class Branches:
    """What has been followed so far."""

    max_step: float
    max_points: int
    found: list[Branch] = field(default_factory=list)
    runs: list[list[Visit]] = field(default_factory=list)
    n_seen: int = 0

    def follow(self, curve: Curve, start: Point) -> None:
        """Both ways from a start."""
        ahead, last = self._run(curve, start)
        if last == "closed":
            self.found.append(Branch([(v, v.arclength) for v in ahead], last, last))
            return
        turned = Point(start.x, -start.tangent, -start.sign, start.values, start.has_multipliers)
        behind, first = self._run(curve, turned)
        self._join(behind, ahead[1:], first, last)

    def switch(self, visit: Visit) -> None:
        """Both ways from a branch point along the branch that crosses there, where it is not known yet."""
        event, curve = visit.event, visit.curve
        assert event is not None
        assert event.other is not None
        arms: list[tuple[list[Visit], str]] = []
        for tangent in (event.other, -event.other):
            beside = start_along(curve, event.point.x, tangent, BESIDE)
            is_new = beside is not None and not self.has(curve, beside.x)
            arms.append(self._run(curve, beside) if beside is not None and is_new else ([], "branch"))
        (behind, first), (ahead, last) = arms
        if behind or ahead:
            here = Visit(curve, event.point, -BESIDE, Event(event.point, event.name, event.size))
            self._join([here, *behind], ahead, first, last, BESIDE)

    def leave(self, curve: Curve, x: np.ndarray, tangent: np.ndarray) -> None:
        """One way from a Hopf point along the cycles that are born there."""
        beside = start_along(curve, x, tangent, BESIDE)
        if beside is None:
            raise SolverError("No cycle was found beside the Hopf point: give more pieces, n_intervals=.")
        _, jacobian = curve.linearise(x)
        point = Point(x, tangent, beside.sign, curve.spectrum(x, jacobian), curve.has_multipliers)
        ahead, last = self._run(curve, beside)
        size = point.size
        self._join([Visit(curve, point, -BESIDE, Event(point, "hopf", size))], ahead, "end", last, BESIDE)

    def switch_all(self) -> None:
        """All branches that cross those that are known, and those that cross these."""
        while self.n_seen < len(self.found):
            branch = self.found[self.n_seen]
            self.n_seen += 1
            for visit, _ in branch.visits:
                if visit.event is not None and visit.event.other is not None and len(self.found) < MOST_BRANCHES:
                    self.switch(visit)

    def has(self, curve: Curve, x: np.ndarray) -> bool:
        """Whether a solution lies on a branch that is known."""
        for run in self.runs:
            for a, b in pairwise(run):
                if a.curve is not b.curve or len(a.point.x) != len(x):
                    continue
                segment = Segment(a.curve, a.point, b.point)
                length = segment.length
                s = float((curve.weights * a.point.tangent) @ (x - a.point.x))
                if -SAME <= s <= length + SAME and distance(curve, x, a.point.x) <= 2 * length + SAME:
                    ends = (a.point.x, b.point.x)
                    if min(distance(curve, x, end) for end in ends) <= SAME:
                        return True
                    if 0 < s < length and distance(curve, x, segment.at(s).x) <= SAME:
                        return True
        return False

    def _run(self, curve: Curve, start: Point) -> tuple[list[Visit], str]:
        visits, reason = trace(
            curve, start, events_within, max_step=self.max_step, max_points=self.max_points,
            first_step=self.max_step / 5,
        )  # fmt: skip
        self.runs.append(visits)
        return visits, reason

    def _join(self, behind: list[Visit], ahead: list[Visit], first: str, last: str, gap: float = 0.0) -> None:
        visits = [(visit, -visit.arclength - gap) for visit in reversed(behind)]
        visits += [(visit, visit.arclength + gap) for visit in ahead]
        self.found.append(Branch(visits, first, last))
