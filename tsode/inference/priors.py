"""Priors of named parameters: nine families, each with bounds, normalised where bounds cut them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.stats
import torch
from torch import Tensor
from torch import distributions as torch_laws
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from tsode._registry import lookup
from tsode.errors import ParameterError

__all__ = [
    "PRIORS",
    "Beta",
    "Cauchy",
    "Exponential",
    "Gamma",
    "HalfNormal",
    "InverseGamma",
    "LogNormal",
    "Normal",
    "Prior",
    "StudentT",
    "Uniform",
    "prior_from_dict",
]

_SHARE = 0.1586552539314571  # below one standard deviation under the mean of a normal
_FARTHEST, _FARTHEST_EXPONENT = 1e150, 500.0  # coordinates beyond which numbers or their squares leave floating point


@dataclass(frozen=True)
class Prior(ABC):
    """Law of one parameter before any data, between bounds.

    A member gives the law without bounds, as one of `torch.distributions` (density), whose parameters are its fields in
    their order, and of `scipy.stats` (distribution function, quantiles). Between bounds it is normalised.

    A parameter is sampled as an unbounded coordinate ``u``. The map to the parameter is the bijection onto its support,
    after a shift and a stretch that put the median of the prior at 0 and most of it between -1 and 1: so units of
    measurement change no number that an engine sees.

    Parameters
    ----------
    lower, upper : float, optional
        Bounds of the parameter.
    """

    density_family: ClassVar[Any]
    positive: ClassVar[tuple[str, ...]] = ()
    support: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    lower: float | None = field(default=None, kw_only=True)
    upper: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name, value in self._settings().items():
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or math.isnan(value):
                raise ParameterError(f"{name} of {type(self).__name__} must be a number, but is {value!r}.")
            is_bound = name in ("lower", "upper")
            if not is_bound and not math.isfinite(value):
                raise ParameterError(f"{name} of {type(self).__name__} must be finite, but is {value}.")
            if name in self.positive and not value > 0:
                raise ParameterError(f"{name} of {type(self).__name__} must be above 0, but is {value}.")
            object.__setattr__(self, name, float(value))
        low, high = self.bounds
        if not low < high:
            raise ParameterError(f"{self!r} has no room: it lies above {low} and below {high}.")
        if not self._mass > 0:
            raise ParameterError(
                f"{self!r} has no mass: its bounds lie too far out for floating point. Move the law or the bounds."
            )

    def _settings(self) -> dict[str, float]:
        """Numbers that are set, by name."""
        named = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return {name: value for name, value in named if value is not None}

    def _own_settings(self) -> dict[str, float]:
        return {name: value for name, value in self._settings().items() if name not in ("lower", "upper")}

    def __repr__(self) -> str:
        bounds = [f"{name}={self._settings()[name]:g}" for name in ("lower", "upper") if name in self._settings()]
        own = [f"{value:g}" for value in self._own_settings().values()]
        return f"{type(self).__name__}({', '.join(own + bounds)})"

    @abstractmethod
    def _law(self) -> Any:
        """The law without bounds, frozen, of `scipy.stats`."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the support, infinite where there is none."""
        low, high = self.support
        return (
            max(low, -math.inf if self.lower is None else self.lower),
            min(high, math.inf if self.upper is None else self.upper),
        )

    @cached_property
    def _mass(self) -> float:
        """Share of the law that the bounds leave, from the tail that they lie in."""
        (low, high), law = self.bounds, self._law()
        is_above = law.sf(low) < 0.5
        return float(law.sf(low) - law.sf(high) if is_above else law.cdf(high) - law.cdf(low))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density at `x` (...), float64; -inf outside of the bounds."""
        low, high = self.bounds
        is_inside = (x >= low) & (x <= high)
        inside = torch.where(is_inside, x, self._median)
        # as tensors, since numbers of Python would become single precision
        numbers = [torch.tensor(value, dtype=x.dtype, device=x.device) for value in self._own_settings().values()]
        density = self.density_family(*numbers, validate_args=False).log_prob(inside)
        return torch.where(is_inside, density - math.log(self._mass), -torch.inf)

    def quantile(self, p: Any) -> np.ndarray:
        """Quantiles at the levels `p` (...), of the law between its bounds."""
        (low, high), law = self.bounds, self._law()
        p = np.asarray(p, dtype=np.float64)
        below, above = law.cdf(low) + p * self._mass, law.sf(high) + (1.0 - p) * self._mass
        x = np.where(below < 0.5, law.ppf(np.minimum(below, 0.5)), law.isf(np.minimum(above, 1.0)))
        return np.clip(x, low, high)

    @property
    def has_variance(self) -> bool:
        """Whether its variance is a number: if so, a posterior's is one too, by likelihoods that are bounded."""
        return bool(np.isfinite(self.bounds).all() or np.isfinite(self._law().var()))

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation; where the law has none, those of its quantiles from 1 in 8,192 on."""
        law = self._law()
        if (self.lower, self.upper) == (None, None) and np.isfinite(law.var()):
            return float(law.mean()), float(law.std())
        levels = self.quantile((np.arange(4096) + 0.5) / 4096)
        return float(levels.mean()), float(levels.std())

    @cached_property
    def _median(self) -> float:
        return float(self.quantile(0.5))

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draws of this shape, float64, by inversion: never on a bound."""
        level = torch.rand(shape, generator=generator, dtype=torch.float64).numpy()
        x = self.quantile(level.clip(2.0**-60, 1.0 - 2.0**-53))
        low, high = self.bounds
        return torch.from_numpy(np.clip(x, np.nextafter(low, high), np.nextafter(high, low)))

    @cached_property
    def _bijection(self) -> Transform:
        """Increasing map from the real line onto the support."""
        low, high = self.bounds
        if math.isfinite(low) and math.isfinite(high):
            return torch_laws.biject_to(constraints.interval(low, high))
        if math.isfinite(low):
            return torch_laws.biject_to(constraints.greater_than(low))
        if math.isfinite(high):
            mirror = torch_laws.AffineTransform(0.0, -1.0)
            return torch_laws.ComposeTransform([mirror, torch_laws.biject_to(constraints.less_than(high))])
        return torch_laws.identity_transform

    @cached_property
    def _standard(self) -> tuple[float, float]:
        """Where the prior lies on the real line, and how wide it is."""
        levels = torch.from_numpy(self.quantile([_SHARE, 0.5, 1.0 - _SHARE]))
        low, middle, high = self._bijection.inv(levels).tolist()
        scale = 0.5 * (high - low)
        if not (math.isfinite(middle) and 0 < scale < math.inf):
            raise ParameterError(f"{self!r} is too narrow or too wide for floating point: most of it is one number.")
        return middle, scale

    def is_in_reach(self, u: Tensor) -> Tensor:
        """Whether a coordinate (...) stands for a number that is finite and can be squared."""
        centre, scale = self._standard
        most = _FARTHEST_EXPONENT if np.isfinite(self.bounds).any() else _FARTHEST
        return (centre + scale * u).detach().abs() <= most  # NaN compares False

    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The parameter of each coordinate `u` (...), all in reach, and the log of its derivative."""
        centre, scale = self._standard
        w = centre + scale * u
        x = self._bijection(w)
        return x, self._bijection.log_abs_det_jacobian(w, x) + math.log(scale)

    def unconstrain(self, x: Tensor) -> Tensor:
        """The coordinate of each parameter `x` (...), strictly between the bounds."""
        centre, scale = self._standard
        return (self._bijection.inv(x) - centre) / scale

    @property
    def line(self) -> Transform:
        """Increasing map from the real line onto the support: exponential, logistic, or none at all."""
        return self._bijection

    @property
    def width(self) -> float:
        """How far a coordinate of 1 is from one of 0, on the line."""
        return self._standard[1]

    def to_dict(self) -> dict[str, Any]:
        """Name and numbers, to be saved; see `prior_from_dict`."""
        return {"prior": type(self).__name__, **self._settings()}


def prior_from_dict(saved: Mapping[str, Any]) -> Prior:
    """Prior from what `Prior.to_dict` gave."""
    numbers = dict(saved)
    return lookup(PRIORS, numbers.pop("prior"), "prior")(**numbers)


@dataclass(frozen=True, repr=False)
class Normal(Prior):
    """Normal law, by mean and standard deviation."""

    density_family = torch_laws.Normal
    positive = ("sd",)
    mean: float
    sd: float

    def _law(self) -> Any:
        return scipy.stats.norm(self.mean, self.sd)


@dataclass(frozen=True, repr=False)
class HalfNormal(Prior):
    """Normal law about 0, of which the negative half is folded over: of a spread that may well be next to none."""

    density_family = torch_laws.HalfNormal
    positive = ("scale",)
    support = (0.0, math.inf)
    scale: float

    def _law(self) -> Any:
        return scipy.stats.halfnorm(scale=self.scale)


@dataclass(frozen=True, repr=False)
class LogNormal(Prior):
    """Log-normal law, by mean and standard deviation of the logarithm."""

    density_family = torch_laws.LogNormal
    positive = ("sd_log",)
    support = (0.0, math.inf)
    mean_log: float
    sd_log: float

    def _law(self) -> Any:
        return scipy.stats.lognorm(self.sd_log, scale=math.exp(self.mean_log))


@dataclass(frozen=True, repr=False)
class StudentT(Prior):
    """Student's t law, by degrees of freedom, location and scale."""

    density_family = torch_laws.StudentT
    positive = ("df", "scale")
    df: float
    loc: float
    scale: float

    def _law(self) -> Any:
        return scipy.stats.t(self.df, self.loc, self.scale)


@dataclass(frozen=True, repr=False)
class Cauchy(Prior):
    """Cauchy law, by location and scale; with ``lower=loc`` the half-Cauchy."""

    density_family = torch_laws.Cauchy
    positive = ("scale",)
    loc: float
    scale: float

    def _law(self) -> Any:
        return scipy.stats.cauchy(self.loc, self.scale)


@dataclass(frozen=True, repr=False)
class Gamma(Prior):
    """Gamma law, by shape and rate."""

    density_family = torch_laws.Gamma
    positive = ("shape", "rate")
    support = (0.0, math.inf)
    shape: float
    rate: float

    def _law(self) -> Any:
        return scipy.stats.gamma(self.shape, scale=1.0 / self.rate)


@dataclass(frozen=True, repr=False)
class InverseGamma(Prior):
    """Law of one over a gamma variable, by shape and scale."""

    density_family = torch_laws.InverseGamma
    positive = ("shape", "scale")
    support = (0.0, math.inf)
    shape: float
    scale: float

    def _law(self) -> Any:
        return scipy.stats.invgamma(self.shape, scale=self.scale)


@dataclass(frozen=True, repr=False)
class Exponential(Prior):
    """Exponential law, by rate."""

    density_family = torch_laws.Exponential
    positive = ("rate",)
    support = (0.0, math.inf)
    rate: float

    def _law(self) -> Any:
        return scipy.stats.expon(scale=1.0 / self.rate)


@dataclass(frozen=True, repr=False)
class Beta(Prior):
    """Beta law, of a share between 0 and 1."""

    density_family = torch_laws.Beta
    positive = ("a", "b")
    support = (0.0, 1.0)
    a: float
    b: float

    def _law(self) -> Any:
        return scipy.stats.beta(self.a, self.b)


@dataclass(frozen=True, repr=False)
class Uniform(Prior):
    """Uniform law between two ends."""

    density_family = torch_laws.Uniform
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ParameterError(f"low of Uniform must be below high, but they are {self.low} and {self.high}.")
        super().__post_init__()

    @property
    def bounds(self) -> tuple[float, float]:
        low, high = super().bounds
        return max(low, self.low), min(high, self.high)

    def _law(self) -> Any:
        return scipy.stats.uniform(self.low, self.high - self.low)


PRIORS: dict[str, type[Prior]] = {
    cls.__name__: cls
    for cls in (Beta, Cauchy, Exponential, Gamma, HalfNormal, InverseGamma, LogNormal, Normal, StudentT, Uniform)
}
