"""Named parameters: what a user's functions read, and the space of unbounded coordinates that engines move in."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsode.errors import ParameterError, ShapeError, UnknownParameterError
from tsode.inference.priors import Prior

__all__ = ["ParameterSpace", "Parameters", "Unpacked", "check_name"]


class Parameters(Mapping[str, Tensor]):
    """Named parameters of each row, as ``p.name`` or ``p["name"]``: Tensor[r], float64.

    Parameters
    ----------
    values : mapping of str to Tensor[r]
    pick : callable, optional
        What is made of a value that is asked for: where a function is asked at many times, its rows are other ones.
    known : mapping of str to Tensor[r], optional
        Inputs at the times of the rows, as they are.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        pick: Callable[[Tensor], Tensor] | None = None,
        known: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._values, self._pick, self._known = values, pick, known or {}
        self._read: set[str] = set()

    def beside(self, known: Mapping[str, Tensor]) -> Parameters:
        """The same with these inputs."""
        other = Parameters(self._values, self._pick, known)
        other._read = self._read
        return other

    def also(self, known: Mapping[str, Tensor]) -> Parameters:
        """The same with these inputs too, which stand before others of their names."""
        return self.beside({**self._known, **known})

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_"):  # of Python, which copies and pickles by such names
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Tensor:
        if name in self._known:
            return self._known[name]
        if name not in self._values:
            close = get_close_matches(str(name), list(self), n=1)
            guess = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownParameterError(
                f"There is no parameter {name!r}.{guess} Known: {', '.join(sorted(self)) or 'none'}. Give it a prior "
                f"or a number: parameters={{{name!r}: ...}}, or a column of known= if it changes along time."
            )
        self._read.add(name)
        value = self._values[name]
        return value if self._pick is None else self._pick(value)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._values, **self._known})

    def __len__(self) -> int:
        return len(self._values) + len(self._known)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    @property
    def names_read(self) -> frozenset[str]:
        """Names that were asked for so far."""
        return frozenset(self._read)


class Unpacked(NamedTuple):
    """What the coordinates of some points say.

    Parameters
    ----------
    values : dict of str to Tensor[g b s]
        Every parameter, with the fixed ones.
    log_prior : Tensor[g b]
        With the log of the derivatives of the parameters by their coordinates; finite, 0 where it is not fine.
    is_fine : Tensor[g b], bool
        Whether all coordinates stand for numbers of positive density. Where not, the point is replaced by the middle of
        the prior.
    """

    values: dict[str, Tensor]
    log_prior: Tensor
    is_fine: Tensor


@dataclass(frozen=True, eq=False)
class ParameterSpace:
    """Unbounded coordinates of the parameters with priors, for ``g`` problems of ``s`` series each.

    Coordinates are sorted by the names of the parameters, so that the order in which they were given changes no
    number. A parameter is shared by the series of a problem, or each series has its own, with the same prior.

    Parameters
    ----------
    priors : dict of str to Prior
        Sorted by name.
    fixed : dict of str to Tensor[g 1 s] or Tensor[1 1 1]
        What is known.
    own : frozenset of str
        Parameters of which each series has its own.
    n_problems, n_series : int
        ``g`` and ``s``.
    names : tuple of str
        Of the ``p`` coordinates.
    """

    priors: dict[str, Prior]
    fixed: dict[str, Tensor]
    own: frozenset[str]
    n_problems: int
    n_series: int
    names: tuple[str, ...]

    @classmethod
    def build(
        cls,
        parameters: Mapping[str, Any],
        ids: Sequence[object],
        own: Collection[str] = (),
        n_problems: int | None = None,
        may_be_empty: bool = False,
    ) -> ParameterSpace:
        """Space of parameters given by priors and numbers.

        Parameters
        ----------
        parameters : mapping of str to Prior, number, or Tensor[n]
            A tensor has a known number for each series.
        ids : sequence
            Names of the ``n`` series.
        own : collection of str
            Names of the parameters that each series has its own of.
        n_problems : int, optional
            Into how many problems of equally many series the series fall. By default, each series is one where nothing
            is shared, and all are one where something is.
        may_be_empty : bool
            Whether all parameters may be known.
        """
        priors, fixed = {}, {}
        for name in sorted(parameters):
            check_name(name)
            given = parameters[name]
            if isinstance(given, Prior):
                priors[name] = given
            else:
                fixed[name] = _known(name, given, len(ids))
        for name in own:
            if name not in priors:
                close = get_close_matches(str(name), priors, n=1)
                guess = f" Did you mean {close[0]!r}?" if close else ""
                raise ParameterError(
                    f"per_series names {name!r}, which is no parameter with a prior.{guess} Those are: "
                    f"{', '.join(priors) or 'none'}."
                )
        if not priors and not may_be_empty:
            raise ParameterError("No parameter has a prior, so there is nothing to infer: give at least one.")
        if n_problems is None:
            n_problems = len(ids) if set(priors) <= set(own) else 1
        if n_problems < 1 or len(ids) % n_problems:
            raise ParameterError(f"{len(ids)} series do not fall into {n_problems} problems of equally many.")
        n_series = len(ids) // n_problems
        fixed = {
            name: value.reshape(n_problems, 1, n_series) if value.dim() else value.reshape(1, 1, 1)
            for name, value in fixed.items()
        }
        is_named = n_problems == 1 and n_series > 1
        labels = [f"[{label}]" for label in ids] if is_named else [f"[{k}]" for k in range(n_series)]
        names = [
            name + label
            for name in priors
            for label in (labels if name in own and n_series > 1 else [""])
        ]  # fmt: skip
        return cls(priors, fixed, frozenset(own), n_problems, n_series, tuple(names))

    def select(self, problems: Tensor) -> ParameterSpace:
        """The space of some problems, by their places."""
        fixed = {name: value[problems] if len(value) > 1 else value for name, value in self.fixed.items()}
        return replace(self, fixed=fixed, n_problems=len(problems))

    def _blocks(self) -> Iterator[tuple[str, Prior, int, int]]:
        """Name, prior, place of the first coordinate, and number of coordinates of each parameter."""
        start = 0
        for name, prior in self.priors.items():
            width = self.n_series if name in self.own else 1
            yield name, prior, start, width
            start += width

    def parameter_of(self, coordinate: str) -> str:
        """Name of the parameter that a coordinate, one of `names`, belongs to."""
        return next(name for name, _, start, width in self._blocks() if coordinate in self.names[start : start + width])

    def unpack(self, u: Tensor) -> Unpacked:
        """Read the coordinates ``u`` (g b p)."""
        if u.dim() != 3 or u.shape[0] != self.n_problems or u.shape[2] != len(self.names):
            raise ShapeError(
                f"`u` must be ({self.n_problems}, b, {len(self.names)}), of problems, points and coordinates, but is "
                f"{tuple(u.shape)}."
            )
        shape = (*u.shape[:2], self.n_series)
        values = {name: value.to(u).expand(shape) for name, value in self.fixed.items()}
        log_prior, is_fine = u.new_zeros(u.shape[:2]), u.new_ones(u.shape[:2], dtype=torch.bool)
        for name, prior, part, is_free in self._parts(u):
            is_near = prior.is_in_reach(part)
            x, log_jacobian = prior.constrain(torch.where(is_near, part, 0.0))
            log_density = prior.log_prob(x) + log_jacobian
            is_likely = log_density.detach().isfinite()
            is_good = is_near & is_likely
            if is_free is not None:
                x = torch.where(is_free, x, values.get(name, x))
                is_likely, is_good = is_likely & is_free, is_good | ~is_free
            values[name] = x.expand(shape)
            log_prior = log_prior + torch.where(is_likely, log_density, 0.0).sum(dim=-1)
            is_fine = is_fine & is_good.all(dim=-1)
        return Unpacked(values, log_prior, is_fine)

    def _parts(self, u: Tensor) -> Iterator[tuple[str, Prior, Tensor, Tensor | None]]:
        """Name, prior and coordinates (g b w) of each parameter; and (g 1 1) which problems do not know it, or all."""
        for name, prior, start, width in self._blocks():
            yield name, prior, u[..., start : start + width], None

    def log_prior(self, u: Tensor) -> Tensor:
        """Log density of the coordinates ``u`` (g b p) before any data, (g b); -inf where a number is out of range."""
        point = self.unpack(u)
        return torch.where(point.is_fine, point.log_prior, -torch.inf)

    def constrain(self, u: Tensor) -> Tensor:
        """Parameters (g b p), in the order of `names`, at the coordinates ``u`` (g b p); NaN where out of range."""
        parts = []
        for _, prior, start, width in self._blocks():
            part = u[..., start : start + width]
            is_near = prior.is_in_reach(part)
            parts.append(torch.where(is_near, prior.constrain(torch.where(is_near, part, 0.0))[0], torch.nan))
        return torch.cat([u[..., :0], *parts], dim=-1)

    def unconstrain(self, x: Tensor) -> Tensor:
        """Coordinates (g b p) of the parameters ``x`` (g b p), in the order of `names`."""
        parts = [prior.unconstrain(x[..., start : start + width]) for _, prior, start, width in self._blocks()]
        return torch.cat(parts, dim=-1)

    def pack(self, values: Mapping[str, float]) -> Tensor:
        """Coordinates (g 1 p) of one point; `values` has a number for each parameter with a prior."""
        numbers = [float(values[name]) for name, _, _, width in self._blocks() for _ in range(width)]
        return self.unconstrain(torch.tensor(numbers, dtype=torch.float64)).expand(self.n_problems, 1, -1).clone()

    def spread(self, n: int) -> dict[str, Tensor]:
        """Parameters at points from the middle of the prior, each (g n s), the same for all series; by no chance."""
        values = {name: value.expand(self.n_problems, n, self.n_series) for name, value in self.fixed.items()}
        levels = torch.linspace(0.2, 0.8, n, dtype=torch.float64)
        for name, prior in self.priors.items():
            order = torch.randperm(n, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
            points = torch.from_numpy(prior.quantile(levels[order].numpy()))
            values[name] = points[:, None].expand(self.n_problems, n, self.n_series)
        return values

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws of the coordinates, (g n p); the first of them are the same however many are asked for."""
        parts = [torch.zeros(self.n_problems, n, 0, dtype=torch.float64)]
        for _, prior, _, width in self._blocks():
            seed = int(torch.randint(2**62, (), generator=generator))
            own = torch.Generator().manual_seed(seed)
            draws = prior.sample((n, self.n_problems, width), own)
            parts.append(prior.unconstrain(draws).transpose(0, 1))
        return torch.cat(parts, dim=-1)


def check_name(name: object) -> None:
    """Raise a ParameterError unless functions can read ``p.name``."""
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        raise ParameterError(
            f"A parameter is named as a variable of Python, so that functions can read p.name, but came {name!r}."
        )
    if hasattr(Mapping, name) or name == "names_read":
        raise ParameterError(f"A parameter cannot be called {name!r}, which is a method of p: choose another name.")


def _known(name: str, given: Any, n_series: int) -> Tensor:
    """A number that is known, or one for each series."""
    try:
        value = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ParameterError(
            f"Parameter {name!r} must have a prior, such as LogNormal(0, 1), or be a number, but is {given!r}."
        ) from None
    if isinstance(given, bool) or value.shape not in ((), (n_series,)) or not value.isfinite().all():
        raise ParameterError(
            f"Parameter {name!r} must be a finite number, or one for each of the {n_series} series, but is {given!r}."
        )
    return value
