"""Supported mixture: a law of normals on the scales of positive and bounded channels, told in the data's own units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.ensemble_mixture import NormalEnsemble
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_groups import NormalGroups
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.transformed_mixture import TransformedMixture

__all__ = ["OF_NORMALS", "SupportedMixture"]

OF_NORMALS = (Normal, NormalMixture, NormalEnsemble, NormalGroups)
"""Families whose members are mixtures of normals, of which every map of a channel has its moments."""


class SupportedMixture(Likelihood):
    """Law of ``origin + width * W`` held within ``[low, high]``, where ``W`` has a `TransformedMixture`.

    The parameters are those of ``W``, then origin, width, low and high. With ``low = origin`` and, of a bounded
    quantity, ``high = origin + width`` but for rounding, both ends are met exactly: no quantile and no mean lies beyond
    them, and what piles up at an end has a probability there, of which `log_prob` is the logarithm.

    Parameters
    ----------
    n_components : int
        Of the mixture.
    sizes : sequence of int, optional
        Components of each model that it is made of, one after the other; by default it is one.
    """

    def __init__(self, n_components: int, sizes: Sequence[int] | None = None) -> None:
        self.inner, self.sizes = TransformedMixture(n_components), list(sizes or [n_components])
        self.n_params, self.n_shape = self.inner.n_params + 4, self.inner.n_shape

    @classmethod
    def push(
        cls, family: Likelihood, params: Tensor, transform: Transform, low: Tensor, high: Tensor
    ) -> tuple[SupportedMixture, Tensor]:
        """Law in the data's units, and its parameters (... c p), of laws of normals on the scale of each channel.

        Parameters
        ----------
        family : Likelihood
            One of `OF_NORMALS`.
        params : Tensor[... c q]
        transform : Transform
            Of each channel (c,), from what lies within its support.
        low, high : Tensor[c]
            Ends of the supports; infinite where there is none.
        """
        if type(family) not in OF_NORMALS:
            raise ParameterError(f"A {type(family).__name__} has no moments once it is transformed: take normals.")
        if isinstance(family, Normal):
            params = torch.cat([params, torch.zeros_like(params[..., :1])], dim=-1)
        each = Transform(*(number[:, None] for number in (transform.code, transform.lam, transform.offset)))
        inner = TransformedMixture.from_normals(params, each)
        is_bounded = low.isfinite() & high.isfinite()
        origin = torch.where(low.isfinite(), low, 0.0)
        ends = (origin, torch.where(is_bounded, high - origin, 1.0), low, high)
        law = cls(params.shape[-1] // 3, getattr(family, "sizes", None))
        return law, torch.cat([inner, *(end.to(inner).expand(inner.shape[:-1])[..., None] for end in ends)], dim=-1)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        inner, (_, width, low, high), w = self._parts(params, x)
        is_end = (x == low) | (x == high)
        return self.inner.log_prob(inner, w) - torch.where(is_end, 0.0, width.log())

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        inner, _, w = self._parts(params, x)
        return self.inner.cdf(inner, w)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        inner, (_, width, _, _), w = self._parts(params, x)
        return width * self.inner.crps(inner, w)

    def mean(self, params: Tensor) -> Tensor:
        return self._outer(params, self.inner.mean(params[..., :-4]))

    def variance(self, params: Tensor) -> Tensor:
        return params[..., -3] ** 2 * self.inner.variance(params[..., :-4])

    def epistemic(self, params: Tensor) -> Tensor:
        """Variance of the means of the models, each with its weight."""
        if len(self.sizes) == 1:
            return torch.zeros_like(params[..., 0])
        weight = self.inner.parts(params[..., :-4]).log_weight.exp()
        shares = torch.stack([part.sum(dim=-1) for part in weight.split(self.sizes, dim=-1)])
        groups = params[..., :-6].unflatten(-1, (6, -1)).split(self.sizes, dim=-1)
        each = [torch.cat([group.flatten(-2), params[..., -6:-4]], dim=-1) for group in groups]
        means = torch.stack([TransformedMixture(n).mean(own) for n, own in zip(self.sizes, each)])
        spread = (shares * (means - (shares * means).sum(dim=0)) ** 2).sum(dim=0)
        return params[..., -3] ** 2 * torch.where(means.isinf().any(dim=0), torch.inf, spread)

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        return self._outer(params, self.inner.quantile(params[..., :-4], p))

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """Without a support, see `TransformedMixture.compose`."""
        return self._of_the_reals(self.inner.compose(location, log_scale, shape))

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Without a support: a normal."""
        return self._of_the_reals(self.inner.from_moments(mean, scale))

    @staticmethod
    def _of_the_reals(inner: Tensor) -> Tensor:
        ends = inner.new_tensor([0.0, 1.0, -torch.inf, torch.inf]).expand(*inner.shape[:-1], 4)
        return torch.cat([inner, ends], dim=-1)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the median on the scale of the normals, see `TransformedMixture.rescale`."""
        inner = self.inner.rescale(params[..., :-4], factor)
        return torch.cat([inner, params[..., -4:].expand(*inner.shape[:-1], 4)], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """The ends of the support move too."""
        inner, (origin, width, low, high) = params[..., :-4], params[..., -4:].unbind(-1)
        moved = torch.stack([shift + scale * origin, scale * width, shift + scale * low, shift + scale * high], dim=-1)
        return torch.cat([inner.expand(*moved.shape[:-1], inner.shape[-1]), moved], dim=-1)

    @staticmethod
    def _parts(params: Tensor, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Parameters of ``W``, the four others, and ``W`` at the value `x`: exactly 0 and 1 at the ends."""
        origin, width, low, high = params[..., -4:].unbind(-1)
        w = torch.where(x == high, 1.0, (x - origin) / width)
        return params[..., :-4], (origin, width, low, high), w

    @staticmethod
    def _outer(params: Tensor, w: Tensor) -> Tensor:
        origin, width, low, high = params[..., -4:].unbind(-1)
        return torch.minimum(torch.maximum(origin + width * w, low), high)
