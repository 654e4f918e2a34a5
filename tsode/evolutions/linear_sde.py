"""Exact steps of a linear-Gaussian SDE between events: forward for beliefs, backward for what later data say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Transition", "discretise", "discretise_stationary", "square_root", "stationary_moments"]

# Norm of A times the step on which the power series is used, and its terms there: the remainder of the longest
# series, sum_k (2 RADIUS)^k / (k+1)! from k = TERMS on, is below 1e-17.
_RADIUS = 0.5
_TERMS = 18


@dataclass(frozen=True)
class Transition:
    """Law of a state given an earlier one: ``x(t1) | x(t0) ~ N(phi x(t0) + shift, cov)``.

    Parameters
    ----------
    phi : Tensor[... d d]
    shift : Tensor[... d]
    cov : Tensor[... d d]
    """

    phi: Tensor
    shift: Tensor
    cov: Tensor

    def carry(self, mean: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
        """Belief at the end from the belief ``N(mean, cov)`` at the start; unchanged bit for bit over a zero gap."""
        mean = _matvec(self.phi, mean) + self.shift
        return mean, _symmetric(self.phi @ cov @ self.phi.mT + self.cov)

    def pull_back(self, vector: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient and curvature of the log-likelihood of later data, from the end to the start.

        One half of a step of the modified Bryson-Frazier smoother (Bierman 1973), which inverts no covariance: a
        singular `cov` or belief needs no care. The other half is the observation's.

        Parameters
        ----------
        vector : Tensor[... d]
            At the end. The smoothed mean is ``mean - cov vector``,
        matrix : Tensor[... d d]
            and the smoothed covariance ``cov - cov matrix cov``.
        """
        return _matvec(self.phi.mT, vector), _symmetric(self.phi.mT @ matrix @ self.phi)

    def backward_gain(self, cov: Tensor) -> Tensor:
        """Regression of the start on the end, ``P phi' (phi P phi' + cov)^-1`` for a start of covariance `cov`.

        Rauch, Tung & Striebel 1965; the pseudo-inverse where the end is known in some direction.
        """
        scale, values, vectors = _standardised_eigen(_symmetric(self.phi @ cov @ self.phi.mT + self.cov))
        # directions below the rounding of the largest are known: nothing is learned from them
        is_exact = values <= values.shape[-1] * torch.finfo(values.dtype).eps * values[..., -1:]
        half = vectors * torch.where(is_exact, torch.inf, values).rsqrt()[..., None, :]
        half = torch.where(scale > 0.0, scale, torch.inf).reciprocal()[..., None] * half
        return cov @ self.phi.mT @ half @ half.mT

    def unbind(self) -> list[Transition]:
        """One transition for each place on axis 1 (b n ...)."""
        return [Transition(*parts) for parts in zip(self.phi.unbind(1), self.shift.unbind(1), self.cov.unbind(1))]


def discretise(drift: Tensor, offset: Tensor, diffusion: Tensor, gaps: Tensor) -> Transition:
    """Exact transitions of ``dx = (A x + b) dt + L dW`` over any gaps.

    ``phi = exp(A gap)``, ``shift = (int_0^gap exp(A s) ds) b``, ``cov = int_0^gap exp(A s) L L' exp(A' s) ds``.

    Scaling and doubling of the blocks of Van Loan 1978, theorem 1, each by itself. The exponential of all of them
    together holds ``exp(-A gap)``, which overflows for a stable ``A`` and a long gap; each block's own series and
    doubling does not. The series' coefficients do not depend on the gap, so all gaps share one matrix product.
    ``phi - 1`` is doubled instead of ``phi``: a slow component keeps its digits beside a fast one.

    Parameters
    ----------
    drift : Tensor[d d]
        A; stable or not.
    offset : Tensor[d]
        b.
    diffusion : Tensor[d k]
        L, of any rank.
    gaps : Tensor[...], float64
        Non-negative, finite; equal gaps are computed once. Gradients flow to the matrices, not to the gaps.

    Returns
    -------
    Transition
        With the axes of `gaps` in front. Not finite where an unstable system leaves the range of numbers.
    """
    step, doublings, place, norm = _short_steps(drift, gaps)
    less_one, shift, cov = _series(drift / norm, offset, diffusion, (step * norm).to(norm), step.to(norm))
    identity = torch.eye(len(drift), dtype=drift.dtype, device=drift.device)
    finished = []
    for count in torch.bincount(doublings, minlength=1).tolist():  # the loop's length is the largest number needed
        finished.append(Transition(less_one[:count] + identity, shift[:count], cov[:count]))
        less_one, shift, cov = less_one[count:], shift[count:], cov[count:]
        half = Transition(less_one + identity, shift, cov)
        shift, cov = half.carry(shift, cov)
        less_one = 2.0 * less_one + less_one @ less_one
    return Transition(*(torch.cat([getattr(t, name) for t in finished])[place] for name in ("phi", "shift", "cov")))


def discretise_stationary(drift: Tensor, gaps: Tensor, n_state: int | None = None) -> Transition:
    """Exact transitions of systems about zero whose stationary covariance is the identity, as `discretise` has them.

    Their noise is ``1 - phi phi'``: with ``E = phi - 1`` that is ``-(E + E' + E E')``, whose digits short gaps keep.

    Parameters
    ----------
    drift : Tensor[r d d]
        ``A + A'`` not positive.
    gaps : Tensor[...], float64
    n_state : int, optional
        States of the systems; those after them stand still, drive the systems, and have no noise. By default all.

    Returns
    -------
    Transition
        With the axis of the systems in front, and then those of `gaps`.
    """
    step, doublings, place, norm = _short_steps(drift, gaps)
    scaled = (step * norm).to(drift)
    power, terms = drift / norm, []
    for k in range(_TERMS):
        terms.append(power / math.factorial(k + 1))
        power = drift / norm @ power
    powers = scaled[:, None] ** torch.arange(1, _TERMS + 1, dtype=scaled.dtype, device=scaled.device)
    less_one, finished = torch.tensordot(powers, torch.stack(terms), dims=1), []
    for count in torch.bincount(doublings, minlength=1).tolist():
        finished.append(less_one[:count])
        less_one = less_one[count:]
        less_one = 2.0 * less_one + less_one @ less_one
    moved = torch.cat(finished)[place].movedim(place.dim(), 0)
    identity = torch.eye(drift.shape[-1], dtype=drift.dtype, device=drift.device)
    own = moved[..., :n_state, :n_state]
    cov = -(own + own.mT + own @ own.mT)
    return Transition(moved + identity, torch.zeros_like(moved[..., 0]), cov)


def _short_steps(drift: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Steps (u,) for the power series, how often each is doubled, which one each gap is, and the norm of the drifts."""
    distinct, place = torch.unique(gaps, return_inverse=True)  # sorted, hence by number of doublings too
    norm = torch.linalg.matrix_norm(drift.detach(), torch.inf).max().clamp(min=torch.finfo(drift.dtype).tiny ** 0.5)
    # drifts that have left the range of numbers give transitions that have, too: 1100 doublings span that range
    doublings = torch.log2(distinct * norm / _RADIUS).ceil().nan_to_num(0.0).clamp(0.0, 1100.0).long()
    return torch.ldexp(distinct, -doublings), doublings, place, norm


def _series(drift: Tensor, offset: Tensor, diffusion: Tensor, scaled: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    """``phi - 1``, shift and covariance over short steps (u,), by their power series.

    With `drift` divided by its norm and ``scaled = norm * step``, term k of each is ``step scaled^k / (k+1)!`` times
    ``norm A^(k+1)``, ``A^k b``, and the k-th image of ``L L'`` under ``P -> A P + P A'``.
    """
    power, input_, noise = drift, offset, diffusion @ diffusion.mT
    terms = []
    for k in range(_TERMS):
        terms.append([term / math.factorial(k + 1) for term in (power, input_, noise)])
        power, input_, noise = drift @ power, drift @ input_, drift @ noise + noise @ drift.mT
    powers = scaled[:, None] ** torch.arange(_TERMS, dtype=scaled.dtype, device=scaled.device)
    sums = [torch.tensordot(powers, torch.stack(term), dims=1) for term in zip(*terms)]
    return scaled[:, None, None] * sums[0], step[:, None] * sums[1], step[:, None, None] * sums[2]


def stationary_moments(drift: Tensor, offset: Tensor, diffusion: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance that ``dx = (A x + b) dt + L dW`` forgets its start for; ``A`` must be stable.

    ``A m + b = 0`` and the Lyapunov equation ``A P + P A' + L L' = 0``, solved as one linear system of size ``d^2``
    (Särkkä & Solin 2019, chapter 6).

    Returns
    -------
    mean : Tensor[d]
    cov : Tensor[d d]
    """
    d = len(drift)
    identity = torch.eye(d, dtype=drift.dtype, device=drift.device)
    lyapunov = torch.kron(drift, identity) + torch.kron(identity, drift)
    cov = torch.linalg.solve(lyapunov, -(diffusion @ diffusion.mT).flatten()).reshape(d, d)
    return torch.linalg.solve(drift, -offset), _symmetric(cov)


def square_root(cov: Tensor) -> Tensor:
    """A matrix ``F`` with ``F F' = cov`` (... d d) for a covariance that may be singular."""
    scale, values, vectors = _standardised_eigen(cov)
    return scale[..., None] * vectors * values.clamp(min=0.0).sqrt()[..., None, :]


def _standardised_eigen(cov: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standard deviations, and eigenvalues and eigenvectors of the correlations.

    Correlations rather than covariances: a position and its velocity over a short gap differ by powers of the gap,
    and the small one would drown in the rounding of the large.
    """
    scale = cov.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    inverse = torch.where(scale > 0.0, scale, torch.inf).reciprocal()
    correlation = cov * inverse[..., None] * inverse[..., None, :]
    # a covariance that is not finite must not stop its batch-mates: its scale carries the failure on
    return scale, *torch.linalg.eigh(correlation.nan_to_num(0.0, 0.0, 0.0))


def _matvec(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None]).squeeze(-1)


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)
