"""Parts of a known system in a model file: all but functions, which are given again and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tsode._registry import Part, lookup
from tsode.assimilation.filters import FILTERS, Filter
from tsode.assimilation.process_noise import StateNoise
from tsode.assimilation.system import StochasticSystem
from tsode.errors import ParameterError
from tsode.frames.labels import decode_label, encode_label
from tsode.inference.dosing import Dosing
from tsode.inference.effects.covariates import Linear, Power
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.noise import NOISES, Noise
from tsode.inference.priors import Prior, prior_from_dict
from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.rodas4 import Rodas4
from tsode.numerics.ros34pw2 import Ros34PW2
from tsode.numerics.switching import Switching
from tsode.numerics.tsit5 import Tsit5

__all__ = ["Unsaid", "compare", "decode", "describe", "encode", "fingerprint", "given_again"]

_HOLDERS = (Noise, Dosing, AdaptiveSolver, NeuralTerm, Part, Power, Linear, RandomEffects, StateNoise, Filter)
RTOL = 1e-9  # of outputs of functions that are the same, on whatever machine


class Unsaid(Exception):
    """A part that a file cannot hold."""


def encode(value: Any) -> Any:
    """A part as JSON; `decode` undoes it. Raises `Unsaid` for functions, and what holds one."""
    if isinstance(value, Prior):
        return value.to_dict()
    if isinstance(value, _HOLDERS):
        entries = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        if any(isinstance(entry, Tensor) for entry in entries.values()):
            raise Unsaid
        return {"of_class": type(value).__name__, **{name: encode(entry) for name, entry in entries.items()}}
    if isinstance(value, Mapping):
        return {"entries": [[encode_label(key), encode(entry)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise Unsaid


def decode(saved: Any) -> Any:
    """A part from what `encode` gave, of a closed list of classes."""
    if isinstance(saved, list):
        return [decode(entry) for entry in saved]
    if not isinstance(saved, dict):
        return saved
    if "entries" in saved:
        return {decode_label(key): decode(entry) for key, entry in saved["entries"]}
    if "prior" in saved:
        return prior_from_dict(saved)
    solvers = {made.__name__: made for made in (Dopri5, Rodas4, Ros34PW2, Switching, Tsit5)}
    classes: dict[str, Any] = {**NOISES, **solvers, "Dosing": Dosing, "NeuralTerm": NeuralTerm, "Part": Part}
    classes |= {"Power": Power, "Linear": Linear, "RandomEffects": RandomEffects, "StateNoise": StateNoise}
    classes |= {made.__name__: made for made in FILTERS.values()}
    entries = {name: decode(entry) for name, entry in saved.items() if name != "of_class"}
    return lookup(classes, saved["of_class"], "part")(**entries)


def describe(system: KnownSystem) -> dict[str, str]:
    """Entries of a system in words, all but its functions."""
    noises = {}
    for channel, noise in system.observed.items():
        entries = {**noise.settings(), "below": noise.below, "above": noise.above}
        noises[channel] = (
            f"{type(noise).__name__} {entries} of {noise.of if isinstance(noise.of, str) else 'a function'}"
        )
    said = {
        "states": repr(list(system.states)),
        "parameters": repr({name: _shown(system.parameters[name]) for name in sorted(system.parameters)}),
        "initial": repr({name: _shown(system.initial[name]) for name in sorted(system.initial)}),
        "observed": repr(noises),
        "per_series": repr(sorted(system.per_series)),
        "doses": repr({name: system.doses[name] for name in sorted(system.doses)}),
        "triggers": f"{len(system.triggers)} triggers",
        "population": "" if system.population is None else repr(system.population.parameters()),
        "residual": repr({name: system.residual[name] for name in sorted(system.residual)}),
    }
    if isinstance(system, StochasticSystem):
        said["process_noise"] = repr(system.noise)
    # absent without any, as in files from before there were some
    return said | ({"correlated_errors": repr(system.errors.parameters())} if system.errors.correlation else {})


def _shown(value: Any) -> Any:
    if isinstance(value, Prior | Mapping):
        return value
    return "a function" if callable(value) else torch.as_tensor(value).tolist()


def fingerprint(density: KnownDensity) -> Tensor:
    """Outputs of all functions of a system at a few points in the middle of the prior."""
    system, n = density.system, 5
    values = {name: value[0, :, 0].clone() for name, value in density.space.spread(n).items()}
    t = density.data.start[0] + torch.linspace(0.0, 1.0, n, dtype=torch.float64)
    share = torch.linspace(0.3, 1.7, n * len(system.states), dtype=torch.float64).reshape(n, -1)
    p = density.parameters_at(values, t)
    outputs = []
    with torch.no_grad():
        start = system.start(p, torch.zeros(n, dtype=torch.int64), t)
        z = share * torch.where(start == 0, 1.0, start)
        outputs += [start, system.derivatives(t, z, p)]
        outputs += [system.predict(noise, t, z, p, t - 1.0, 1.1 * z) for noise in system.observed.values()]
        if isinstance(system, StochasticSystem):
            outputs.append(system.noise.root(t, z, p))
        for trigger in system.triggers:
            outputs.append(trigger.surface(t, z, p))  # type: ignore[call-arg]
            if trigger.reset is not None:
                outputs.append(trigger.reset(t, z, p))  # type: ignore[call-arg]
    return torch.cat([output.reshape(-1) for output in outputs]).nan_to_num()


def compare(density: KnownDensity, said: Mapping[str, str], outputs: Tensor) -> None:
    """Raise a ParameterError unless a system is the one that a file was written with."""
    now = describe(density.system)
    for name in {**now, **said}:
        if said.get(name) != now.get(name):
            raise ParameterError(
                f"{name}= is another than when the file was written: it was {said.get(name)}, but is now "
                f"{now.get(name)}."
            )
    found = fingerprint(density)
    if found.shape != outputs.shape or not torch.allclose(found, outputs, rtol=RTOL, atol=0.0):
        raise ParameterError(
            "The functions that are given (rates, initial, observed, triggers) are not those that the file was written "
            "with: at stored times, states and parameters they give other numbers."
        )


def given_again(names: Sequence[str]) -> str:
    """What a file does not hold, as arguments."""
    return ", ".join(f"{name}=..." for name in names)
