"""Densities whose answers are known, by closed forms or by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


def log_normal_density(x: Tensor, mean: float = 0.0, sd: float = 1.0) -> Tensor:
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd) - 0.5 * LOG_2PI


class Written:
    """A density from a function of points (g b p) -> (g b), with normal priors or those that `prior` draws (n p)."""

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        names: tuple[str, ...],
        prior: Callable[[int, torch.Generator], Tensor] | None = None,
        n_problems: int = 1,
        scale: float = 1.0,
    ) -> None:
        self.names, self.n_problems = names, n_problems
        self._log_prob, self._prior, self._scale = log_prob, prior, scale

    def log_prob(self, u: Tensor) -> Tensor:
        assert u.dtype == torch.float64
        assert u.shape[0] == self.n_problems
        assert u.shape[2] == len(self.names)
        return self._log_prob(u)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        if self._prior is not None:
            draws = self._prior(n, generator)
        else:
            draws = self._scale * torch.randn(n, len(self.names), generator=generator, dtype=torch.float64)
        return draws.expand(self.n_problems, -1, -1)


class Normal:
    """Normal posteriors: of problem k about ``k + (0 ... 1)``, with equal correlations and log evidence `k`.

    The prior draws starts only; it is not part of the density.
    """

    def __init__(self, p: int, correlation: float = 0.0, problems: tuple[int, ...] = (0,)) -> None:
        self.names = tuple(f"x{i}" for i in range(p))
        self.n_problems, self.problems = len(problems), problems
        self.covariance = torch.full((p, p), correlation, dtype=torch.float64).fill_diagonal_(1.0)
        self.mean = torch.tensor(problems, dtype=torch.float64)[:, None] + torch.linspace(0, 1, p, dtype=torch.float64)
        self._precision = torch.linalg.inv(self.covariance)
        self._constant = -0.5 * (p * LOG_2PI + torch.logdet(self.covariance))

    def log_prob(self, u: Tensor) -> Tensor:
        apart = u - self.mean[:, None]
        square = torch.einsum("gbp,pq,gbq->gb", apart, self._precision, apart)
        return -0.5 * square + self._constant + torch.tensor(self.problems, dtype=torch.float64)[:, None]

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        draws = 10.0 * torch.randn(n, len(self.names), generator=generator, dtype=torch.float64)
        return draws.expand(self.n_problems, -1, -1)

    def select(self, problems: Tensor) -> Normal:
        return Normal(
            len(self.names), float(self.covariance[0, -1]), tuple(self.problems[i] for i in problems.tolist())
        )


class Decay:
    """Exponential decay ``A exp(-k t)`` with noise .5: log k ~ N(log .5, .5), A ~ N(10, 2); a data set a problem."""

    names = ("log_k", "A")
    times = torch.tensor([0.5, 1.2, 2.0, 3.5, 6.0], dtype=torch.float64)
    noise = 0.5

    def __init__(self, values: Tensor | None = None) -> None:
        published = torch.tensor([[7.9, 5.3, 4.1, 2.2, 0.4]], dtype=torch.float64)
        self.values = published if values is None else values
        self.n_problems = len(self.values)

    @classmethod
    def expected(cls, u: Tensor, times: Tensor) -> Tensor:
        return u[..., 1, None] * torch.exp(-u[..., 0, None].exp() * times)

    def pointwise(self, u: Tensor) -> Tensor:
        """Log likelihood of each value: (g b p) -> (g b n)."""
        return log_normal_density(self.values[:, None] - self.expected(u, self.times), 0.0, self.noise)

    def log_prob(self, u: Tensor) -> Tensor:
        prior = log_normal_density(u[..., 0], math.log(0.5), 0.5) + log_normal_density(u[..., 1], 10.0, 2.0)
        return prior + self.pointwise(u).sum(-1)

    @staticmethod
    def draw(n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return torch.stack([math.log(0.5) + 0.5 * z[:, 0], 10.0 + 2.0 * z[:, 1]], dim=-1)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        return self.draw(n, generator).expand(self.n_problems, -1, -1)

    @classmethod
    def simulate(cls, truth: Tensor, generator: torch.Generator) -> Decay:
        clean = cls.expected(truth, cls.times)
        return cls(clean + cls.noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64))

    def select(self, problems: Tensor) -> Decay:
        return Decay(self.values[problems])


# -- hard ones ---------------------------------------------------------------------------------------------------------


def _cauchy(n: int, p: int, generator: torch.Generator) -> Tensor:
    return torch.tan(math.pi * (torch.rand(n, p, generator=generator, dtype=torch.float64) - 0.5))


def _log_cauchy(x: Tensor) -> Tensor:
    return -math.log(math.pi) - torch.log1p(x**2)


def ridge_of_cauchys(p: int = 2) -> Written:
    """Cauchy priors, and data that know only the sum: it is 1 with error .1."""
    return Written(
        lambda u: _log_cauchy(u).sum(-1) + log_normal_density(u.sum(-1), 1.0, 0.1),
        tuple(f"x{i}" for i in range(p)),
        lambda n, generator: _cauchy(n, p, generator),
    )


def two_modes(p: int = 4, apart: float = 6.0, weight: float = 0.5) -> Written:
    """Two normal laws of standard deviation .5, `apart` in the first coordinate; the prior is where starts lie."""

    def log_prob(u: Tensor) -> Tensor:
        rest = log_normal_density(u[..., 1:], 0.0, 0.5).sum(-1)
        first = math.log(1.0 - weight) + log_normal_density(u[..., 0], -0.5 * apart, 0.5)
        second = math.log(weight) + log_normal_density(u[..., 0], 0.5 * apart, 0.5)
        return rest + torch.logaddexp(first, second)

    return Written(log_prob, tuple(f"x{i}" for i in range(p)), scale=3.0)


def product_of_rates(p: int = 3) -> Written:
    """Standard normal priors, and data that know only the sum of the first two: log rates of a product."""
    return Written(
        lambda u: log_normal_density(u).sum(-1) + log_normal_density(u[..., 0] + u[..., 1], 0.5, 0.05)
        + log_normal_density(u[..., 2], 1.0, 0.1),
        ("log_a", "log_b", "log_c"),
    )  # fmt: skip


def untouched(p: int = 4) -> Written:
    """Standard normal priors; the last coordinate is in no datum."""
    return Written(
        lambda u: log_normal_density(u).sum(-1) + log_normal_density(u[..., :-1], 0.5, 0.2).sum(-1),
        (*(f"x{i}" for i in range(p - 1)), "spare"),
    )


def failing(p: int = 3) -> Written:
    """Standard normal priors; solves fail where the first coordinate is below -.4307, a third of the prior."""

    def log_prob(u: Tensor) -> Tensor:
        value = log_normal_density(u).sum(-1) + log_normal_density(u[..., 0], 0.5, 0.5)
        return value.where(u[..., 0] > -0.4307, -torch.inf)

    return Written(log_prob, tuple(f"x{i}" for i in range(p)))


def funnel(p: int = 5) -> Written:
    """Neal's funnel, moderate: ``v ~ N(0, 1.5)``, and the others ``N(0, exp(v / 2))``."""
    return Written(
        lambda u: (
            log_normal_density(u[..., 0], 0.0, 1.5)
            + (-0.5 * u[..., 1:] ** 2 * torch.exp(-u[..., :1]) - 0.5 * u[..., :1] - 0.5 * LOG_2PI).sum(-1)
        ),
        ("v", *(f"x{i}" for i in range(1, p))),
        scale=1.5,
    )


def banana(p: int = 3) -> Written:
    """A crescent: ``x ~ N(0, 1)``, ``y - x^2 ~ N(0, .3)``, and the others standard normal."""
    return Written(
        lambda u: log_normal_density(u[..., 0]) + log_normal_density(u[..., 1] - u[..., 0] ** 2, 0.0, 0.3)
        + log_normal_density(u[..., 2:]).sum(-1),
        tuple(f"x{i}" for i in range(p)), scale=2.0,
    )  # fmt: skip


def student(p: int = 4, degrees: float = 3.0) -> Written:
    """Multivariate t with three degrees of freedom."""
    constant = math.lgamma(0.5 * (degrees + p)) - math.lgamma(0.5 * degrees) - 0.5 * p * math.log(degrees * math.pi)
    return Written(
        lambda u: constant - 0.5 * (degrees + p) * torch.log1p(u.square().sum(-1) / degrees),
        tuple(f"x{i}" for i in range(p)), scale=3.0,
    )  # fmt: skip


def at_a_bound(p: int = 3) -> Written:
    """Gamma(.5) laws of positive parameters, in their logarithms: each has its mode at zero and a long left tail."""
    return Written(
        lambda u: (0.5 * u - u.exp() - math.lgamma(0.5)).sum(-1),
        tuple(f"log_x{i}" for i in range(p)), scale=2.0,
    )  # fmt: skip
