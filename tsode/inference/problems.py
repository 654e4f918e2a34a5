"""Problems of a posterior: names for what is wrong with it, or worth knowing before it is used."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.draws import Posterior
from tsode.inference.mixture import nearest_modes
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings

__all__ = ["find_problems", "mode_shares"]

FAILED_PRIOR, FAILED = 0.05, 0.2  # shares of failures that are worth a word; proposals reach far, and more of them fail
UNTOUCHED = 0.9  # width in units of the prior's from which the data have told nothing
LOADING = 0.35  # in units of the largest, from which a coordinate is named in a direction
NOISE, MOST_NAMED = 0.1, 6  # correlations that count for none, and coordinates that are named
LOST = 5.0  # nats by which whole series may be worse than their segments
ANOTHER = 0.01  # share of the draws from which another mode is worth a word


def mode_shares(posterior: Posterior) -> Tensor:
    """Share of the posterior that lies about each mode, (g m): nearest in units of its width."""
    nearest = nearest_modes(posterior.modes, posterior.nodes)
    mine = torch.nn.functional.one_hot(nearest, posterior.modes.log_prob.shape[1]).to(posterior.nodes.dtype)
    return torch.einsum("gk,gkm->gm", posterior.log_weights.exp(), mine)


def find_problems(posterior: Posterior, settings: Settings) -> list[list[str]]:
    """Names, for each problem, of what is wrong with its answer or worth knowing before it is used.

    Each is a text that begins with the kind of problem and a colon.
    """
    draws, prior = posterior.draws.flatten(1, 2), posterior.modes.prior
    flat = _flat_directions(draws, prior.draws, prior.scale, posterior.names)
    shares = mode_shares(posterior)
    found = []
    for g, direction in enumerate(flat):
        texts = [*_of_the_search(posterior.modes, g), _of_modes(posterior, g, shares[g]), direction]
        found.append([text for text in [*texts, *_of_the_engine(posterior, g, settings)] if text])
    return found


def _of_the_search(modes: Modes, g: int) -> list[str]:
    share, found = float(modes.prior.share_failed[g]), []
    if share > FAILED_PRIOR:
        found.append(f"failed solves: {share:.0%} of the draws of the prior have no finite density")
    if not bool(modes.is_found[g]):
        found.append("no mode: no start has come to one; the density may rise without end, or be rough")
    lost = float(modes.relaxed[g] - modes.log_prob[g, 0])
    if lost > LOST:
        found.append(
            f"chaos: segments with next to no gaps have a log density of {float(modes.relaxed[g]):.1f}, whole series "
            f"of {float(modes.log_prob[g, 0]):.1f} at best: errors grow too fast along them for a path to be told; "
            "take shorter series, or a tighter tolerance of the solver"
        )
    return found


def _of_modes(posterior: Posterior, g: int, shares: Tensor) -> str:
    heavy = (shares > ANOTHER).nonzero().squeeze(1).tolist()
    if len(heavy) < 2:
        return ""
    unit = posterior.modes.prior.scale[g]
    places = [
        ", ".join(
            f"{name} {round(float(z), 4) * float(u):.3g}"
            for name, z, u in zip(posterior.names, posterior.modes.point[g, m] / unit, unit)
        )
        for m in heavy
    ]
    return f"several modes: {'; '.join(f'{float(shares[m]):.0%} at {place}' for m, place in zip(heavy, places))}"


def _of_the_engine(posterior: Posterior, g: int, settings: Settings) -> list[str]:
    found = []
    failed, k, rhat = float(posterior.share_failed[g]), float(posterior.pareto_k[g]), posterior.rhat[g]
    if failed > FAILED:
        found.append(f"failed solves: {failed:.0%} of the points that {posterior.engine[g]} asked for have no density")
    if k >= settings.max_k:
        found.append(f"Pareto k: {k:.2f}, above {settings.max_k:g}: few draws carry most of the weight")
    if bool((rhat > settings.max_rhat).any()):
        worst = int(rhat.nan_to_num().argmax())
        bound = f"{float(rhat[worst]):.3f} for {posterior.names[worst]}, above {settings.max_rhat:g}"
        found.append(f"R-hat: {bound}: chains from different starts do not agree")
    ess = torch.minimum(posterior.ess_bulk[g], posterior.ess_tail[g])
    if bool((ess < settings.enough).any()):
        worst = int(ess.nan_to_num(nan=torch.inf).argmin())
        found.append(
            f"effective draws: {float(ess[worst]):.0f} for {posterior.names[worst]}, below {settings.enough:g}"
        )
    return found


def _flat_directions(draws: Tensor, prior: Tensor, scale: Tensor, names: tuple[str, ...]) -> list[str]:
    """Of each problem, the directions in which the posterior is as wide as the prior, with the signs of coordinates.

    Principal axes of the draws in units of the prior, by correlations of ranks and ranges of quantiles: tails may have
    no moments.
    """
    z, reference = draws / scale[:, None], prior / scale[:, None]
    width = _ranges(z)[0] / 1.349
    score = z.argsort(dim=1).argsort(dim=1).double()
    score = torch.special.ndtri((score + 0.5) / z.shape[1])
    correlation = torch.einsum("gkp,gkq->gpq", score, score) / score[:1, :, 0].square().sum()
    correlation = correlation.where(correlation.abs() > NOISE, 0.0)  # it would mix axes of like width
    correlation.diagonal(dim1=1, dim2=2).fill_(1.0)
    axes = torch.linalg.eigh(correlation * width[:, :, None] * width[:, None])[1]
    # both ranges: a posterior of two modes may be wide in the middle alone
    ratio = (_ranges(z @ axes) / _ranges(reference @ axes)).amin(dim=0)
    texts = []
    for loadings, ratios in zip(axes.mT, ratio):
        flat = [
            f"{_direction(loading, names)} is {float(r):.2f} times as wide as in the prior"
            for loading, r in zip(loadings, ratios)
            if float(r) > UNTOUCHED
        ]
        texts.append(f"not identified: {'; '.join(flat)}" if flat else "")
    return texts


def _direction(loading: Tensor, names: tuple[str, ...]) -> str:
    """Sum and difference of the coordinates that make up a direction, the first with a plus."""
    size = loading.abs()
    named = [i for i in range(len(names)) if float(size[i]) > LOADING * float(size.max())]
    first = float(loading[named[0]].sign())
    signed = " ".join(f"{'+' if first * float(loading[i]) > 0 else '-'} {names[i]}" for i in named[:MOST_NAMED])
    return signed.removeprefix("+ ") + (" ..." if len(named) > MOST_NAMED else "")


def _ranges(z: Tensor) -> Tensor:
    """Ranges between quartiles, and between the 5 % and 95 % quantiles: (g k p) -> (2 g p)."""
    levels = torch.quantile(z, z.new_tensor([0.05, 0.25, 0.75, 0.95]), dim=1)
    return torch.stack([levels[2] - levels[1], levels[3] - levels[0]]).clamp(min=1e-300)
