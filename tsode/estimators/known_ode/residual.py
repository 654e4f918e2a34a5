"""Residuals of known systems: networks added to the rates of states, in the size of what goes on there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.known_density import KnownDensity
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.parameters import Parameters

__all__ = ["check_residual", "of_physics", "residual_shares", "residual_states", "residual_terms"]

N_HIDDEN = 12  # weights of each term
N_POINTS = 9  # of the middle of the prior, at which the size of the rates is read
N_DRAWS, N_TIMES = 200, 64  # over which shares are taken
LEVELS = (0.05, 0.5, 0.95)


def check_residual(name: str, value: Any, default: Any) -> None:
    """Raise a ParameterError unless a value is None, "mlp", a list of states, or a dict of state to NeuralTerm."""
    if value is None or value == "mlp":
        return
    if isinstance(value, Mapping) and value and all(isinstance(term, NeuralTerm) for term in value.values()):
        return
    if isinstance(value, list | tuple) and value and all(isinstance(state, str) for state in value):
        return
    raise ParameterError(
        f"{name}={value!r} is no residual: choose 'mlp' (of every state), a list of states, or a dict of state to "
        "NeuralTerm, such as {'prey': NeuralTerm('more', sizes=[30.0, 10.0], scale=2.0)}."
    )


def residual_states(residual: Any, density: KnownDensity) -> list[str]:
    """States that a residual is added to."""
    names = list(density.system.states) if residual == "mlp" else list(residual)
    for name in names:
        density.system.place_of(name, "residual=")
    return names


@torch.no_grad()
def residual_terms(residual: Any, share: float, density: KnownDensity) -> dict[str, NeuralTerm]:
    """The terms of each state, whose typical size is a share of the rates that the middle of the prior leads to.

    Parameters
    ----------
    residual : "mlp", list of str, or dict of str to NeuralTerm
    share : float
    density : KnownDensity
        Of the system without them.
    """
    if isinstance(residual, Mapping):
        return dict(zip(residual_states(residual, density), residual.values()))
    system, data = density.system, density.data
    names = residual_states(residual, density)
    values = density.space.spread(N_POINTS)
    way = density.solve(values, data.times, "after")
    n, m = data.times.shape
    rows = {name: value.transpose(0, 1).flatten(1)[:, :, None].expand(-1, -1, m).reshape(-1)
            for name, value in values.items()}  # fmt: skip
    t, series = (
        data.times.expand(N_POINTS, n, m).reshape(-1),
        torch.arange(n)[:, None].expand(N_POINTS, n, m).reshape(-1),
    )
    p = Parameters(rows)
    p = p.beside(density.known_along(series, p)(t))
    slope = system.known_derivatives(t, way.states.flatten(0, 2), p).abs()
    typical = torch.where(slope.isfinite(), slope, torch.nan).nanmedian(dim=0).values
    span = (data.times.amax(dim=1) - data.start).median().clamp(min=torch.finfo(torch.float64).tiny)
    sizes = density.size.median(dim=0).values
    # where nothing is known of a rate, as much as changes a state by its size in the time that was seen
    typical = torch.where((typical > 0) & typical.isfinite(), typical, sizes / span)
    return {
        name: NeuralTerm(f"residual_{name}", sizes.tolist(), share * float(typical[system.place_of(name, "residual=")]),
                         n_hidden=N_HIDDEN, seed=k)
        for k, name in enumerate(names)
    }  # fmt: skip


def of_physics(texts: Sequence[str], terms: Mapping[str, NeuralTerm]) -> tuple[str, ...]:
    """Problems without directions of weights alone that data have not touched: a network has more than data need."""
    weights = {weight for term in terms.values() for weight in term.weights}
    kept = []
    for text in texts:
        kind, _, rest = text.partition(": ")
        if kind == "not identified":
            parts = [part for part in rest.split("; ") if not _names(part) <= weights]
            text = f"{kind}: {'; '.join(parts)}" if parts else ""
        kept += [text] if text else []
    return tuple(kept)


def _names(direction: str) -> set[str]:
    words = direction.partition(" is ")[0].split()
    return {word for word in words if word not in ("+", "-", "...")}


@torch.no_grad()
def residual_shares(density: KnownDensity, draws: Tensor) -> pd.DataFrame:
    """Share of the drift that each residual explains, by draws (g k p) of the posterior.

    The root mean square of the residual along the way of each draw, in parts of itself and the known drift's together.
    """
    system, data = density.system, density.data
    draws = draws[:, :N_DRAWS]
    until = data.times.amax(dim=1)
    times = data.start[:, None] + (until - data.start)[:, None] * torch.linspace(0.0, 1.0, N_TIMES, dtype=torch.float64)
    states, _ = density.trajectories(draws, times)  # (g b s q d)
    values = density.space.unpack(draws).values
    rows = {name: value[..., None].expand(states.shape[:4]).reshape(-1) for name, value in values.items()}
    g, b, s, q, d = states.shape
    t = times.reshape(g, 1, s, q).expand(g, b, s, q).reshape(-1)
    series = torch.arange(g * s).reshape(g, 1, s, 1).expand(g, b, s, q).reshape(-1)
    z, p = states.reshape(-1, d), Parameters(rows)
    p = p.beside(density.known_along(series, p)(t))
    known = _size(system.known_derivatives(t, z, p), b, (g, b, s, q, d))
    table = {}
    for name, term in system.residual.items():
        k = system.place_of(name, "residual=")
        own = _size(term(z, p)[:, None], b, (g, b, s, q, 1))[:, 0]
        share = own / (own + known[:, k]).clamp(min=torch.finfo(own.dtype).tiny)
        low, middle, high = torch.quantile(share, share.new_tensor(LEVELS)).tolist()
        table[f"residual share of {name}"] = {
            "mean": float(share.mean()), "sd": float(share.std()), "q05": low, "q50": middle, "q95": high,
        }  # fmt: skip
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("parameter")


def _size(x: Tensor, b: int, shape: tuple[int, ...]) -> Tensor:
    """Root mean squares (b d) over problems, series and times."""
    return x.reshape(shape).transpose(0, 1).reshape(b, -1, shape[-1]).square().mean(dim=1).sqrt()
