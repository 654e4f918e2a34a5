"""Posteriors as draws, with what is known about how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from tsode.inference.evaluation import Effort
from tsode.inference.modes import Modes
from tsode.inference.streams import Streams

__all__ = ["Posterior", "merge", "resample"]


@dataclass(frozen=True)
class Posterior:
    """Posterior of each problem, by whatever engine has found it.

    Attributes
    ----------
    names : tuple of str
    engine : tuple of str, one a problem
    draws : Tensor[g c n p]
        Equally weighted, `n` of each of `c` chains. Those of engines without chains are dealt out at random, so that
        any part of them is a sample.
    nodes, log_weights : Tensor[g k p], Tensor[g k]
        What expectations are best taken over: all draws of an engine with normalised log weights, or nodes of a rule.
    modes : Modes
    log_evidence, log_evidence_se : Tensor[g]
        NaN where the engine has none.
    rhat, ess_bulk, ess_tail : Tensor[g p]
    pareto_k : Tensor[g]
        NaN where nothing is weighted.
    share_failed : Tensor[g]
        Points at which the engine has asked and the log density was not finite; `modes.prior` has those of the prior.
    effort : Effort
        Of all problems together.
    problems : tuple of tuple of str
        Of each problem, what is wrong with its answer; none if nothing is known to be.
    """

    names: tuple[str, ...]
    engine: tuple[str, ...]
    draws: Tensor
    nodes: Tensor
    log_weights: Tensor
    modes: Modes
    log_evidence: Tensor
    log_evidence_se: Tensor
    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor
    pareto_k: Tensor
    share_failed: Tensor
    effort: Effort
    problems: tuple[tuple[str, ...], ...]

    @property
    def n_problems(self) -> int:
        """Number of problems."""
        return self.draws.shape[0]

    @property
    def mean(self) -> Tensor:
        """Posterior means, (g p)."""
        return self.expect(lambda u: u)

    @property
    def covariance(self) -> Tensor:
        """Posterior covariances, (g p p)."""
        apart = self.nodes - self.mean[:, None]
        return torch.einsum("gk,gkp,gkq->gpq", self.log_weights.exp(), apart, apart)

    @property
    def sd(self) -> Tensor:
        """Posterior standard deviations, (g p)."""
        return self.covariance.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()

    def expect(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Expectation of a function of points, (g k p) -> (g k ...): over all that the engine knows, (g ...)."""
        value = function(self.nodes)
        weight = self.log_weights.exp().reshape(*self.log_weights.shape, *[1] * (value.dim() - 2))
        return (weight * value).where(weight > 0, 0.0).sum(dim=1)

    def with_problems(self, more: Sequence[Sequence[str]]) -> Posterior:
        """The same with more problems named."""
        return replace(self, problems=tuple((*a, *b) for a, b in zip(self.problems, more)))

    def select(self, problems: Tensor) -> Posterior:
        """The posteriors of some problems."""
        kept = {f.name: getattr(self, f.name)[problems] for f in fields(self) if f.type == "Tensor"}
        return replace(
            self,
            engine=tuple(self.engine[i] for i in problems.tolist()),
            problems=tuple(self.problems[i] for i in problems.tolist()),
            modes=self.modes.select(problems),
            **kept,
        )


def merge(posterior: Posterior, other: Posterior, places: Tensor) -> Posterior:
    """A posterior with the answers of another for some of its problems."""
    if not len(places):
        return posterior
    n_nodes = max(posterior.nodes.shape[1], other.nodes.shape[1])
    posterior, other = _padded(posterior, n_nodes), _padded(other, n_nodes)
    kept = {}
    for field in fields(Posterior):
        if field.type == "Tensor":
            kept[field.name] = getattr(posterior, field.name).clone()
            kept[field.name][places] = getattr(other, field.name)
    engine, problems = list(posterior.engine), list(posterior.problems)
    for own, place in enumerate(places.tolist()):
        engine[place], problems[place] = other.engine[own], other.problems[own]
    return replace(posterior, engine=tuple(engine), problems=tuple(problems), effort=other.effort, **kept)


def _padded(posterior: Posterior, n_nodes: int) -> Posterior:
    n_more = n_nodes - posterior.nodes.shape[1]
    nodes = torch.cat([posterior.nodes, posterior.nodes[:, :1].expand(-1, n_more, -1)], dim=1)
    nothing = posterior.log_weights.new_full((posterior.n_problems, n_more), -torch.inf)
    return replace(posterior, nodes=nodes, log_weights=torch.cat([posterior.log_weights, nothing], dim=1))


def resample(nodes: Tensor, log_weights: Tensor, streams: Streams, n_chains: int, n_draws: int) -> Tensor:
    """Equally weighted draws (g n_chains n p) by systematic resampling, in random order (Douc & Cappé 2005).

    Parameters
    ----------
    nodes : Tensor[g k p]
    log_weights : Tensor[g k]
        Normalised.
    streams : Streams
    n_chains, n_draws : int
        Chains, and draws of all of them together.
    """
    g, k, p = nodes.shape
    share = log_weights.exp().cumsum(dim=1)
    ticks = (torch.arange(n_draws) + streams.uniform(1)) / n_draws * share[:, -1:]
    chosen = torch.searchsorted(share, ticks).clamp(max=k - 1)
    chosen = chosen.gather(1, streams.uniform(n_draws).argsort(dim=1))
    return nodes.gather(1, chosen[..., None].expand(-1, -1, p)).reshape(g, n_chains, -1, p)
