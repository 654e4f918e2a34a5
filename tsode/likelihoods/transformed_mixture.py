"""Mixture of transformed normals: a likelihood for positive and bounded quantities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

from tsode.core.transforms import Transform
from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.normal_scores import total as _total
from tsode.likelihoods.quantiles import implicit_quantile, in_blocks, invert_cdf
from tsode.likelihoods.transformed_moments import power_peak, transformed_moments

__all__ = ["TransformedMixture"]

# Normal scores of each component at which the quadrature of a score is cut; the weight of what lies beyond is below
# 1e-15. Where the inverse of a power grows so fast that it counts, cuts lie about the largest integrand too; for a
# logit they follow the turn of its inverse.
SCORES = (-8.0, -5.0, -3.5, -2.5, -1.5, -0.75, 0.0, 0.75, 1.5, 2.5, 3.5, 5.0, 8.0)
TAIL = (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0, 3.75, 4.5, 6.0, 8.0)
MOST_CUTS = 80  # of these by rank, and as many evenly: what so many components add up to is smooth
_AT_ONCE = 2**16  # numbers in a temporary of a score
NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)


class _Parts(NamedTuple):
    """Parameters by meaning: of the components (... k), then of the line on which the values lie (...)."""

    location: Tensor
    log_scale: Tensor
    log_weight: Tensor
    transform: Transform
    shift: Tensor
    log_unit: Tensor


class TransformedMixture(Likelihood):
    """Law of ``shift + unit * W``, where ``g_k(W)`` is normal with the probability ``w_k``, for `k` transforms ``g_k``.

    Each component has its own `Transform`, so that a member on a logarithmic scale and one on the scale of the values
    go into one mixture. The ``6 k + 2`` parameters are, for the components, locations, log scales, log weights (which
    need not be normalised), then ``lam``, ``offset`` and ``code`` of their transforms, and last the shift and the log
    unit. The three numbers of a transform are given, not learned.

    Where a normal reaches beyond what its transform maps the support to, the end of the support has its chance, an
    atom: there `log_prob` is the logarithm of a probability. Only `affine` moves the ends of the support: with a shift
    of 0 no quantile and no mean of a positive quantity is below 0.

    The components are taken for the members of an ensemble: `epistemic` is what their means disagree about.

    Parameters
    ----------
    n_components : int
    """

    def __init__(self, n_components: int = 3) -> None:
        self.n_components = n_components
        self.n_params, self.n_shape = 6 * n_components + 2, 3 * n_components

    @staticmethod
    def from_normals(params: Tensor, transform: Transform) -> Tensor:
        """Parameters (... 6k+2) from those of a `NormalMixture` (... 3k) of transformed values.

        The numbers of `transform` broadcast against (... k): a single one serves all; of one for each channel, (c,),
        give (c, 1).
        """
        size = (*params.shape[:-1], params.shape[-1] // 3)
        numbers = [number.to(params).expand(size) for number in (transform.lam, transform.offset, transform.code)]
        return torch.cat([params, *numbers, params.new_zeros(*params.shape[:-1], 2)], dim=-1)

    @staticmethod
    def mix(members: Sequence[Tensor], log_weight: Tensor | None = None) -> Tensor:
        """Parameters of a mixture of mixtures, whose numbers of components may differ: (... 6k+2) each -> (... p).

        Parameters
        ----------
        members : sequence of Tensor[... 6k+2]
            Their shifts and units must be the same.
        log_weight : Tensor[... s], optional
            Log weights of the members, not necessarily normalised; equal by default.

        Raises
        ------
        ParameterError
            If members have not the same shift and unit.
        """
        outer = members[0][..., -2:]
        if not all(torch.equal(outer, own[..., -2:]) for own in members):
            raise ParameterError("Members of a mixture must have the same shift and unit: mix first, move afterwards.")
        blocks = [list(own[..., :-2].unflatten(-1, (6, -1)).unbind(-2)) for own in members]
        for k, own in enumerate(blocks):
            own[2] = own[2].log_softmax(dim=-1)
            if log_weight is not None:
                own[2] = own[2] + log_weight[..., k, None]
        return torch.cat([*(torch.cat(each, dim=-1) for each in zip(*blocks, strict=True)), outer], dim=-1)

    @staticmethod
    def parts(params: Tensor) -> _Parts:
        """Parameters by meaning; the log weights are normalised."""
        location, log_scale, log_weight, lam, offset, code = params[..., :-2].unflatten(-1, (6, -1)).unbind(-2)
        transform = Transform(code, lam, offset)
        return _Parts(location, log_scale, log_weight.log_softmax(dim=-1), transform, params[..., -2], params[..., -1])

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """Components without a transform, see `NormalMixture.compose`; `shape` (... 3k) is raw."""
        return self._untransformed(NormalMixture(self.n_components).compose(location, log_scale, shape))

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Without a transform: a normal."""
        return self._untransformed(NormalMixture(self.n_components).from_moments(mean, scale))

    def _untransformed(self, params: Tensor) -> Tensor:
        return self.from_normals(params, Transform.identity())

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density, in nats; at the ends of the support, the log probability of what components have there."""
        part = self.parts(params)
        w = self._inner(part, x)
        u = (part.transform.forward(w) - part.location) * (-part.log_scale).exp()
        slope = part.transform.log_slope(w) - part.log_scale - part.log_unit[..., None]
        density = slope - 0.5 * u * u - 0.5 * math.log(2.0 * math.pi)
        low, high = part.transform.low, part.transform.high
        atom = log_ndtr(torch.where(w <= low, u, -u))
        inside = torch.where((w > low) & (w < high), density, atom).where((w >= low) & (w <= high), -torch.inf)
        return (part.log_weight + inside).logsumexp(dim=-1)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        part = self.parts(params)
        return (part.log_weight.exp() * _below(part, self._inner(part, x), 1.0)).sum(dim=-1)

    def mean(self, params: Tensor) -> Tensor:
        part = self.parts(params)
        means, _ = transformed_moments(part.transform, part.location, part.log_scale.exp())
        return part.shift + part.log_unit.exp() * _average(part, means)

    def variance(self, params: Tensor) -> Tensor:
        part = self.parts(params)
        means, variances = transformed_moments(part.transform, part.location, part.log_scale.exp())
        return (2.0 * part.log_unit).exp() * (_average(part, variances) + _disagreement(part, means))

    def epistemic(self, params: Tensor) -> Tensor:
        part = self.parts(params)
        means, _ = transformed_moments(part.transform, part.location, part.log_scale.exp())
        return (2.0 * part.log_unit).exp() * _disagreement(part, means)

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        p = p.to(params)
        with torch.no_grad():
            x = in_blocks(self._solve, params, p, self.n_components)
        if not params.requires_grad:
            return x
        with torch.no_grad():  # an atom stays where it is
            part = self.parts(params)
            is_end = (x == part.shift) | (x == part.shift + part.log_unit.exp())
            is_end = is_end & ~part.transform.is_identity.all(dim=-1)
        return torch.where(is_end, x, implicit_quantile(self, params, p, x))

    def _solve(self, params: Tensor, p: Tensor) -> Tensor:
        """Quantiles (q r) at levels `p` (q r) without a graph, of parameters (6k+2 r)."""
        numbers = params[3 * self.n_components : -2].unflatten(0, (3, -1))
        is_alike = ((numbers == numbers[:, :1]) | numbers.isnan()).all(dim=1).all(dim=0)
        w = torch.empty_like(p)
        # one increasing map of all components takes quantiles to quantiles
        normals = params[: 3 * self.n_components, is_alike].mT
        lam, offset, code = numbers[:, 0, is_alike]
        z = NormalMixture(self.n_components).quantile(normals[:, None], p[:, is_alike].mT).mT
        w[:, is_alike] = Transform(code, lam, offset).inverse(z)
        if not bool(is_alike.all()):
            others = params[:, ~is_alike]
            w[:, ~is_alike] = torch.stack([self._invert(others, level) for level in p[:, ~is_alike]])
        return params[-2] + params[-1].exp() * w

    def _invert(self, params: Tensor, p: Tensor) -> Tensor:
        """Quantiles (r,) of ``W`` for components with several transforms: they lie between those of the components.

        Solved for in ``asinh(w / unit)``, in which values over many orders of size of either sign lie evenly.
        """
        k = self.n_components
        location, log_scale, log_weight, lam, offset, code = params[:-2].unflatten(0, (6, k))
        weight = (log_weight - log_weight.amax(dim=0)).exp()
        weight, scale, z = weight / _total(weight), log_scale.exp(), ndtri(p)
        most = torch.finfo(p.dtype).max ** 0.9
        ends = Transform(code, lam, offset).inverse(location + scale * z).clamp(-most, most)
        low, high = ends.amin(dim=0), ends.amax(dim=0)
        at_end = torch.full_like(p, torch.nan)
        data = (weight, location, scale, lam, offset, code)
        transform = Transform(code, lam, offset)
        for end, is_own in ((0.0, transform.low == 0.0), (1.0, transform.high == 1.0)):
            if not bool(is_own.any()):
                continue
            u = (transform.forward(p.new_tensor(end)) - location) / scale
            inside = weight * 0.5 * torch.erfc(-math.sqrt(0.5) * u)
            # an atom takes all levels over which the distribution function jumps
            before = _total(torch.where(is_own, 0.0, inside) if end == 0.0 else inside)
            after = _total(torch.where(is_own, weight, inside) if end == 1.0 else inside)
            at_end = torch.where((before < p) & (p <= after), end, at_end)
            low = torch.where(p > after, low.clamp(min=end), low)
            high = torch.where(p <= before, high.clamp(max=end), high)
        high = torch.maximum(low, high)
        size = torch.where(ends == 0.0, torch.inf, ends.abs())
        unit = torch.maximum(size.amin(dim=0), high.abs().maximum(low.abs()) / most).clamp(min=1.0 / most, max=1.0)

        def excess(t: Tensor, z: Tensor, unit: Tensor, *data: Tensor) -> tuple[Tensor, Tensor]:
            weight, location, scale, lam, offset, code = data
            transform, (sinh, cosh) = Transform(code, lam, offset), _sinh_and_cosh(t)
            w = (unit * sinh)[None]
            u = (transform.forward(w) - location) / scale
            is_inside = (w > transform.low) & (w < transform.high)
            below = 0.5 * torch.erfc(-math.sqrt(0.5) * u)
            below = torch.where(is_inside, below, (w >= transform.high).to(w))
            density = (transform.log_slope(w) - 0.5 * u * u).exp() * is_inside / scale
            # as normal scores, in which the function is nearly straight
            score = ndtri(_total(weight * below))
            slope = (0.5 * score * score).exp() * _total(weight * density) * unit * cosh
            return score - z, (z - score) / slope

        low, high = (low / unit).asinh(), (high / unit).asinh()
        guess = _total(weight * (ends / unit).asinh()).clamp(low, high)
        root = invert_cdf(excess, low, high, guess, torch.zeros_like(p), z, unit, *data)
        return torch.where(at_end.isnan(), unit * _sinh_and_cosh(root)[0], at_end)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Integral of the squared distance of the distribution function from the step at `x`, by Gauss-Legendre.

        Between cuts at the components' quantiles, over ``asinh(w / unit)``; nodes crowd at the cuts, so that roots at
        the ends of the support do no harm.
        """
        shape = torch.broadcast_shapes(params.shape[:-1], x.shape)
        rows = params.expand(*shape, params.shape[-1]).reshape(-1, params.shape[-1])
        size = max(1, _AT_ONCE // (len(NODES) * self.n_components))
        blocks = zip(rows.split(size), x.expand(shape).reshape(-1).split(size))
        return torch.cat([self._crps(*block) for block in blocks] or [x.new_zeros(0)]).reshape(shape)

    def _crps(self, params: Tensor, x: Tensor) -> Tensor:
        part = self.parts(params)
        truth = (x - part.shift) * (-part.log_unit).exp()
        with torch.no_grad():
            cuts, unit = self._cuts(part)
        at = (truth[:, None] / unit).asinh()
        edges = torch.cat([cuts, at], dim=-1).sort(dim=-1).values
        # the step of a smooth walk from 0 to 1, slow at both ends
        walk = torch.from_numpy(0.5 + 0.5 * NODES).to(x)
        share, pace = walk**2 * (3.0 - 2.0 * walk), 6.0 * walk * (1.0 - walk) * 0.5 * torch.from_numpy(WEIGHTS).to(x)
        weight, score = part.log_weight.exp()[:, None, None], torch.zeros_like(x)
        wide = part._replace(
            location=part.location[:, None, None],
            log_scale=part.log_scale[:, None, None],
            transform=part.transform[:, None, None],
        )
        at_once = max(1, _AT_ONCE // (len(x) * len(NODES) * self.n_components))
        for low, high in zip(edges[:, :-1].split(at_once, dim=-1), edges[:, 1:].split(at_once, dim=-1)):
            width, is_left = high - low, 0.5 * (low + high) < at
            t = low[..., None] + width[..., None] * share
            # the smaller of the function and what it lacks to 1, each to its last digit
            side = torch.where(is_left, 1.0, -1.0).to(x)[..., None, None]
            below = _below(wide, (unit[..., None] * t.sinh())[..., None], side)
            missed = (weight * below).sum(dim=-1) ** 2
            # what it is where values are largest holds all over: exact where nothing happens over orders of size
            base = torch.where(high > -low, missed[..., -1], missed[..., 0])
            change = width * (((missed - base[..., None]) * t.cosh()) @ pace)
            score = score + (unit * (base * (high.sinh() - low.sinh()) + change)).sum(dim=-1)
        return part.log_unit.exp() * score

    @staticmethod
    def _cuts(part: _Parts) -> tuple[Tensor, Tensor]:
        """Places (r m) between which distribution functions are smooth, as ``asinh(w / unit)``, and the units (r 1)."""
        scale, transform = part.log_scale.exp(), part.transform
        levels = [torch.full_like(scale, level) for level in SCORES]
        peak = power_peak(0.5, transform.lam, part.location, scale)
        for step in TAIL:
            turn = torch.where(transform.is_identity, step, (2.0 * step - part.location) / scale)
            levels.append(torch.where(transform.is_box_cox, peak + step, turn))
        most = torch.finfo(scale.dtype).max ** 0.9
        each = torch.cat([transform.inverse(part.location + scale * level) for level in levels], dim=-1)
        each = each.clamp(-most, most).sort(dim=-1).values
        size = torch.where(each == 0.0, torch.nan, each.abs())
        least = torch.finfo(scale.dtype).tiny ** 0.5 * size.nan_to_num(0.0).amax(dim=-1).clamp(min=1.0)
        unit = torch.maximum(size.nanquantile(0.2, dim=-1).nan_to_num(1.0), least)[:, None]
        cuts, low, high = (each / unit).asinh(), each[:, :1], each[:, -1:]
        if cuts.shape[1] > 2 * MOST_CUTS:  # half by rank, half evenly, for the sake of the few that reach far
            rank = torch.linspace(0, cuts.shape[1] - 1, MOST_CUTS, dtype=torch.float64, device=each.device)
            even = torch.linspace(0, 1, MOST_CUTS, dtype=scale.dtype, device=each.device)
            even = cuts[:, :1] + (cuts[:, -1:] - cuts[:, :1]) * even
            cuts = torch.cat([cuts[:, rank.round().long()], even], dim=-1)
        ends = torch.tensor([0.0, 1.0]).to(each).expand(len(each), 2)
        return torch.cat([cuts, (torch.minimum(torch.maximum(ends, low), high) / unit).asinh()], dim=-1), unit

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the median, each component in its own transformed values: no value leaves the support."""
        part, factor = self.parts(params), factor[..., None]
        half = self.quantile(params, params.new_tensor(0.5))
        middle = part.transform.forward(self._inner(part, half))
        location = middle + factor * (part.location - middle)
        return self._with(params, location, part.log_scale + factor.log(), part.shift, part.log_unit)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        part = self.parts(params)
        shift, log_unit = shift + scale * part.shift, part.log_unit + scale.log()
        return self._with(params, part.location, part.log_scale, shift, log_unit)

    def _with(self, params: Tensor, location: Tensor, log_scale: Tensor, shift: Tensor, log_unit: Tensor) -> Tensor:
        rest = params[..., 2 * self.n_components : -2]
        shape = torch.broadcast_shapes(rest.shape[:-1], location.shape[:-1], log_scale.shape[:-1], shift.shape)
        blocks = (location, log_scale, rest, shift[..., None], log_unit[..., None])
        return torch.cat([block.expand(*shape, block.shape[-1]) for block in blocks], dim=-1)

    @staticmethod
    def _inner(part: _Parts, x: Tensor) -> Tensor:
        """``W`` (... 1) at the value `x` (...)."""
        return ((x - part.shift) * (-part.log_unit).exp())[..., None]


def _below(part: _Parts, w: Tensor, side: Tensor | float) -> Tensor:
    """Chance (... k) of each component to be at most `w`, or, for a `side` of -1, to be above it."""
    u = (part.transform.forward(w) - part.location) * (-part.log_scale).exp()
    inside = 0.5 * torch.erfc(-math.sqrt(0.5) * side * u)  # exact to the last digit in the tail, as `ndtr` is not
    is_up = torch.as_tensor(side, device=w.device) > 0
    inside = torch.where(w < part.transform.low, (~is_up).to(u), inside)
    return torch.where(w >= part.transform.high, is_up.to(u), inside)


def _sinh_and_cosh(t: Tensor) -> tuple[Tensor, Tensor]:
    """By functions that round alike wherever an element stands, as `torch.sinh` and `torch.cosh` do not."""
    grown = torch.expm1(t.abs())
    return 0.5 * torch.sign(t) * (grown + grown / (grown + 1.0)), 0.5 * (grown + 1.0 + 1.0 / (grown + 1.0))


def _average(part: _Parts, of: Tensor) -> Tensor:
    """Weighted mean over the components; one without weight does not count, be it infinite."""
    weight = part.log_weight.exp()
    return torch.where(weight > 0.0, weight * of, 0.0).sum(dim=-1)


def _disagreement(part: _Parts, means: Tensor) -> Tensor:
    """Variance over the components of their means."""
    centre = _average(part, means)[..., None]
    return torch.where(centre.isinf(), torch.inf, _average(part, (means - centre) ** 2)[..., None])[..., 0]
