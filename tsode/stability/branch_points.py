"""Events on a curve of solutions: folds, branch points, Hopf points, and what else their eigenvalues tell."""

from __future__ import annotations

import numpy as np

from tsode.errors import SolverError
from tsode.stability.arclength import NEUTRAL, Curve, Event, Point, Segment, correct, point_at, root

__all__ = ["events_within", "singular_point", "start_along"]

SAME = 1e-5  # a turn and a crossing closer together than this are one: the arms of a pitchfork
MOST_CUTS = 10  # of a segment, to get apart what happens in it
ASIDE = (3 - 5**0.5) / 2  # where a segment is cut: in the middle there is too often just what is looked for
CRITICAL = 1e-6  # of the largest eigenvalue: what the one of an event may be off zero
DIFFERENCE = 1e-5  # step of the central differences of Jacobians
N_ITERATIONS = 15
MOST_PAIRS = 50  # coordinates, beyond which no sums of pairs of eigenvalues are formed


def events_within(segment: Segment) -> list[Event]:
    """Events between two neighbours in their order, each refined and verified by its eigenvalues.

    What cannot be told apart is "unresolved", with the candidates.
    """
    return _events(segment, [MOST_CUTS])


def _events(segment: Segment, cuts: list[int]) -> list[Event]:
    names = _suspects(segment)
    if not names:
        return []
    try:
        if names == ["fold", "branch point"]:  # at once on the arms of a pitchfork
            turn, crossing = _fold(segment), singular_point(segment, _fold(segment))
            if crossing is not None and np.abs(crossing.point.x - turn.x).max() < SAME:
                return [crossing]
        elif len(names) == 1:
            found = _refined(segment, names[0])
            if found is not None:
                return [found]
        if cuts[0] > 0:
            cuts[0] -= 1
            middle = segment.at(ASIDE * segment.length)
            halves = Segment(segment.curve, segment.a, middle), Segment(segment.curve, middle, segment.b)
            return [event for half in halves for event in _events(half, cuts)]
    except (SolverError, ValueError, np.linalg.LinAlgError):
        pass
    return [Event(segment.b, f"unresolved: {' or '.join(names)}", segment.size)]


def _suspects(segment: Segment) -> list[str]:
    """What must have happened in between, by signs and numbers of unstable directions."""
    a, b = segment.a, segment.b
    has_fold, has_branch = bool(a.tangent[-1] * b.tangent[-1] < 0), a.sign * b.sign < 0
    names = ["fold"] * has_fold + ["branch point"] * has_branch
    rest = abs(b.n_unstable - a.n_unstable) - (has_fold != has_branch)
    if a.has_multipliers:
        names += ["torus"] * (rest // 2) + ["period doubling"] * (rest % 2) if rest > 0 else []
    elif rest > 0:
        names += ["hopf"] * ((rest + 1) // 2)
    elif not names and _pair_sum(a) * _pair_sum(b) < 0:
        names += ["neutral saddle"]
    return names


def _refined(segment: Segment, name: str) -> Event | None:
    """The event, where its eigenvalues confirm it."""
    size = segment.size
    if name == "fold":
        point = _fold(segment)
        return Event(point, name, size) if _n_critical(point, size, "zero") == 1 else None
    if name == "branch point":
        return singular_point(segment, _nearest_to_singular(segment))
    if name == "neutral saddle":
        point = segment.at(root(lambda s: _pair_sum(segment.at(s)), 0.0, segment.length))
        sums = _sums(point)
        return Event(point, name, size) if np.abs(sums).min() <= CRITICAL * size else None
    k = min(segment.a.n_unstable, segment.b.n_unstable)

    def level(s: float) -> float:
        point = segment.at(s)
        return float(point.levels[k]) - NEUTRAL * point.size

    point = segment.at(root(level, 0.0, segment.length))
    turning = "torus" if point.has_multipliers else "hopf"
    if _n_critical(point, size, "turning") == 2 == _n_critical(point, size, "all"):
        return Event(point, turning, size)
    if point.has_multipliers and _n_critical(point, size, "minus one") == 1 == _n_critical(point, size, "all"):
        return Event(point, "period doubling", size)
    return None


def _n_critical(point: Point, size: float, which: str) -> int:
    """Number of eigenvalues on the border of stability: all, or zero (one), or turning, or minus one."""
    values, size = point.values, CRITICAL * size
    raw = np.abs(values) - 1 if point.has_multipliers else values.real
    on_border = np.abs(raw) <= size
    at_zero = np.abs(values - (1 if point.has_multipliers else 0)) <= size
    at_minus = (np.abs(values + 1) <= size) & point.has_multipliers
    chosen = {"all": True, "zero": at_zero, "minus one": at_minus, "turning": ~at_zero & ~at_minus}[which]
    return int((on_border & chosen).sum())


def _sums(point: Point) -> np.ndarray:
    """Sums of pairs of eigenvalues that are real."""
    values = point.values
    i, j = np.triu_indices(len(values), 1)
    sums = values[i] + values[j]
    return sums.real[np.abs(sums.imag) <= 1e-12 * point.size]


def _pair_sum(point: Point) -> float:
    """What changes its sign where two eigenvalues are opposite."""
    if point.has_multipliers or not 1 < len(point.values) <= MOST_PAIRS:
        return 1.0
    sums = _sums(point) / point.size
    return float(np.sign(sums).prod() * np.exp(np.log(np.abs(sums) + 1e-300).mean())) if len(sums) else 1.0


def _fold(segment: Segment) -> Point:
    return segment.at(root(lambda s: float(segment.at(s).tangent[-1]), 0.0, segment.length))


def _nearest_to_singular(segment: Segment) -> Point:
    """A point at which the sign of the bordered determinant has nearly changed."""
    low, high = segment.a, segment.b
    s_low, s_high = 0.0, segment.length
    for _ in range(8):
        s = s_low + ASIDE * (s_high - s_low)
        middle = segment.at(s)
        if middle.sign * low.sign < 0:
            s_high, high = s, middle
        else:
            s_low, low = s, middle
    return high


def singular_point(segment: Segment, near: Point) -> Event | None:
    """Point at which the Jacobian loses a rank, by Newton's method on a minimally augmented system.

    With a border ``b`` of the left null vector and ``C`` (2, n + 1) of both right ones ``[J, b; C, 0]`` is regular, and
    ``g`` in ``(psi, g) [J, b; C, 0] = (0, 1)`` is zero where ``psi J`` is. The unknowns are ``x`` and ``beta`` in
    ``F(x) + beta b = 0, g(x) = 0``; the derivative of ``g`` along ``x`` is ``-psi J'[phi]``, a difference of Jacobians
    along the right null vectors ``phi`` (Govaerts 2000, section 4.4). Tangents solve ``alpha' A alpha = 0`` with
    ``A_ij = psi F''[phi_i, phi_j]`` (Kuznetsov 2004, section 10.2.1).

    References
    ----------
    Govaerts, "Numerical Methods for Bifurcations of Dynamical Equilibria", SIAM, 2000. Kuznetsov, "Elements of Applied
    Bifurcation Theory", 3rd edition, 2004.
    """
    curve, x = segment.curve, near.x.copy()
    _, jacobian = curve.linearise(x)
    left, _, right = np.linalg.svd(jacobian)
    border, corner = left[:, -1:], right[-2:]
    beta, size = 0.0, np.inf
    for _ in range(N_ITERATIONS):
        value, jacobian = curve.linearise(x)
        psi, g, phi = _null_vectors(jacobian, border, corner)
        slopes = np.stack([-_second(curve, x, psi, direction) for direction in phi])
        whole = np.block([[jacobian, border], [slopes, np.zeros((2, 1))]])
        step = np.linalg.solve(whole, -np.concatenate([value + beta * border[:, 0], g]))
        x, beta = x + step[:-1], beta + float(step[-1])
        before, size = size, float((np.abs(step[:-1]) / (1 + np.abs(x))).max())
        if size <= 1e-12 or (size > before and size < 1e-9):
            break
    if size > 1e-8 or abs(beta) > 1e-8 or np.abs(x - near.x).max() > 2 * segment.length * (1 + np.abs(x).max()):
        return None
    _, jacobian = curve.linearise(x)
    psi, _, phi = _null_vectors(jacobian, border, corner)
    form = np.stack([_second(curve, x, psi, direction) @ phi.T for direction in phi])
    tangents = [_unit(curve, alpha @ phi) for alpha in _isotropic((form + form.T) / 2)]
    came = near.tangent
    if not tangents:
        tangents = [came]
    tangents.sort(key=lambda t: -abs((curve.weights * t) @ came))
    along = tangents[0] * np.sign((curve.weights * tangents[0]) @ came)
    point = Point(x, along, near.sign, curve.spectrum(x, jacobian), curve.has_multipliers)
    return Event(point, "branch point", segment.size, tangents[1] if len(tangents) > 1 else None)


def _null_vectors(jacobian: np.ndarray, border: np.ndarray, corner: np.ndarray) -> tuple[np.ndarray, ...]:
    """``psi`` (n), ``g`` (2) and ``phi`` (2, n + 1) of the bordered Jacobian."""
    n = len(jacobian)
    whole = np.block([[jacobian, border], [corner, np.zeros((2, 1))]])
    row = np.linalg.solve(whole.T, np.append(np.zeros(n + 1), 1.0))
    columns = np.linalg.solve(whole, np.vstack([np.zeros((n, 2)), np.eye(2)]))
    return row[:n], row[n:], columns[: n + 1].T


def _second(curve: Curve, x: np.ndarray, psi: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """``psi F''[direction]``, a row."""
    h = DIFFERENCE / max(np.abs(direction).max(), 1e-300)
    ahead, behind = (curve.linearise(x + sign * h * direction)[1] for sign in (1, -1))
    row: np.ndarray = psi @ (ahead - behind) / (2 * h)
    return row


def _isotropic(form: np.ndarray) -> list[np.ndarray]:
    """Both directions in which a quadratic form of two numbers is zero, if there are."""
    values, vectors = np.linalg.eigh(form)
    if values[0] * values[1] >= 0 and not abs(values[0] * values[1]) <= 1e-14 * np.abs(values).max() ** 2:
        return []
    if np.abs(values).max() <= 1e-12:
        return []
    parts = np.sqrt(np.abs(values[::-1]))
    return [vectors @ (parts * np.array([1.0, sign])) for sign in (1.0, -1.0)]


def _unit(curve: Curve, tangent: np.ndarray) -> np.ndarray:
    unit: np.ndarray = tangent / np.sqrt((curve.weights * tangent) @ tangent)
    return unit


def start_along(curve: Curve, x: np.ndarray, tangent: np.ndarray, step: float) -> Point | None:
    """Point beside a branch point on the branch with that tangent."""
    found = correct(curve, x + step * tangent, curve.weights * tangent)
    return None if found is None else point_at(curve, found[0], tangent)
