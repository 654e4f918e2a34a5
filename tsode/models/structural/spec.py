"""Fitted channels as plain numbers and text, and back: what a model file holds of a structural model."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from tsode._registry import build as build_part
from tsode._registry import part
from tsode.core.transforms import Transform
from tsode.models.structural.component import Component, DataScale
from tsode.models.structural.event_responses import Responses
from tsode.models.structural.given_errors import GivenErrors
from tsode.models.structural.joint import MOST_STATES, JointStructure
from tsode.models.structural.member import ChannelFit, Member, of_channels
from tsode.models.structural.random_effects import Effects
from tsode.models.structural.registry import COMPONENTS
from tsode.models.structural.structure import Structure

__all__ = ["decode", "encode"]


def encode(channels: list[ChannelFit]) -> Tensor:
    """Text of the fits as bytes: Tensor[k], uint8. Numbers keep every digit."""
    described = [_describe(fit) for fit in channels]
    if isinstance(channels[0].members[0].structure, JointStructure):
        for other in described[1:]:
            other["members"] = None  # those of the first
    text = json.dumps(described)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def decode(code: Tensor, n_channels: int) -> list[ChannelFit]:
    """Undo `encode`.

    Raises
    ------
    ValueError
        If it is no such text, or not of so many channels.
    """
    if not len(code):
        return []
    try:
        described = json.loads(bytes(code.tolist()))
        channels = [_restore(one) for one in described if one["members"] is not None]
        if len(channels) < len(described) or isinstance(channels[0].members[0].structure, JointStructure):
            channels = _restore_joint(described, channels)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"its components cannot be read: {error}") from error
    if len(channels) != n_channels:
        raise ValueError(f"it has components of {len(channels)} channels, not of {n_channels}")
    return channels


def _describe(fit: ChannelFit) -> dict[str, Any]:
    transform = fit.transform
    return {
        "transform": [float(transform.code), float(transform.lam), float(transform.offset)],
        "shift": fit.shift,
        "spread": fit.spread,
        "span": fit.span,
        "changes": fit.changes,
        "limit": fit.limit,
        "reach": fit.reach,
        "responses": None
        if fit.responses is None
        else [fit.responses.n_inputs, [decay if decay < float("inf") else None for decay in fit.responses.decays]],
        "errors": None if fit.errors is None else [fit.errors.place, fit.errors.ahead],
        "effects": None if fit.effects is None else [[law.mean.tolist(), law.sd.tolist()] for law in fit.effects],
        "members": [
            {
                "components": [_describe_component(component) for component in member.structure.components],
                "n_regressors": member.structure.n_regressors,
                "joint": getattr(member.structure, "n_channels", None),
                "scale": [member.structure.scale.gap, member.structure.scale.roughness],
                "weight": member.weight,
                "z": member.z.tolist(),
            }
            for member in fit.members
        ],
    }


def _describe_component(component: Component) -> list[Any]:
    name = next(name for name, cls in COMPONENTS.items() if cls is type(component))
    return [name, {field.name: getattr(component, field.name) for field in fields(component)}]  # type: ignore[arg-type]


def _restore(state: dict[str, Any]) -> ChannelFit:
    members = []
    for one in state["members"]:
        components = tuple(_component(name, settings) for name, settings in one["components"])
        n_regressors, n_channels = one["n_regressors"], one.get("joint")
        if type(n_regressors) is not int or not 0 <= n_regressors <= 10_000:
            raise ValueError(f"its number of regressors is {n_regressors!r}")
        if n_channels is not None and (type(n_channels) is not int or not 2 <= n_channels <= 1000):
            raise ValueError(f"its number of channels is {n_channels!r}")
        scale = DataScale(*map(_positive, one["scale"]))
        structure = Structure(components, scale, n_regressors)
        if n_channels is not None:
            structure = JointStructure(components, scale, n_regressors, n_channels)
        z = torch.tensor(one["z"], dtype=torch.float64)
        if z.ndim != 2 or z.shape[1] != structure.n_parameters or not z.isfinite().all() or not len(z):
            raise ValueError("its parameters are not those of its components")
        members.append(Member(structure, _positive(one["weight"]), z))
    if not members:
        raise ValueError("it has a channel without components")
    changes = tuple(map(float, state["changes"]))
    if not all(abs(change) < float("inf") for change in changes):
        raise ValueError("its changepoints are not finite")
    if any(member.structure.n_regressors < 2 * len(changes) for member in members):
        raise ValueError("its changepoints have no coefficients")
    limit = None if state["limit"] is None else _positive(state["limit"])
    transform, shift, spread, reach = _units(state)
    return ChannelFit(
        tuple(members), transform, shift, spread, _positive(state["span"]), _effects(state["effects"], members),
        changes, limit, reach, _errors(state.get("errors")), _responses(state.get("responses"), members),
    )  # fmt: skip


def _units(state: dict[str, Any]) -> tuple[Transform, float, float, float]:
    """Transform, shift, spread and reach of a channel."""
    transform = Transform(*(torch.tensor(float(number), dtype=torch.float64) for number in state["transform"]))
    if not torch.stack([transform.code, transform.lam, transform.offset]).isfinite().all():
        raise ValueError("its transform is not finite")
    shift = float(state["shift"])
    if not abs(shift) < float("inf"):
        raise ValueError("its shift is not finite")
    return transform, shift, _positive(state["spread"]), _positive(state["reach"]) if state["reach"] else 0.0


def _responses(described: Any, members: list[Member]) -> Responses | None:
    if described is None:
        return None
    n_inputs, decays = described
    if type(n_inputs) is not int or not 0 < n_inputs <= 10_000:
        raise ValueError(f"its number of inputs is {n_inputs!r}")
    responses = Responses(n_inputs, tuple(float("inf") if decay is None else _positive(decay) for decay in decays))
    if any(member.structure.n_regressors < responses.n_features for member in members):
        raise ValueError("its responses to events have no coefficients")
    return responses


def _errors(described: Any) -> GivenErrors | None:
    if described is None:
        return None
    place, ahead = described
    if type(place) is not int or place < 0 or not 0.0 <= float(ahead) < float("inf"):
        raise ValueError("its standard errors have no place")
    return GivenErrors(place, float(ahead))


def _restore_joint(described: list[dict[str, Any]], first: list[ChannelFit]) -> list[ChannelFit]:
    """Channels that are modelled together, of which the first alone has the members."""
    if len(first) != 1 or described[0]["members"] is None:
        raise ValueError("some of its channels are modelled together, others not")
    if any(getattr(member.structure, "n_channels", None) != len(described) for member in first[0].members):
        raise ValueError(f"its {len(described)} channels are not those of its components")
    if first[0].n_states > MOST_STATES or first[0].effects is not None:
        raise ValueError(f"its channels have {first[0].n_states} states together, or parameters of each series")
    return of_channels(first[0].members, [_units(one) for one in described], first[0].span, first[0].responses)


def _effects(described: Any, members: list[Member]) -> tuple[Effects, ...] | None:
    if described is None:
        return None
    laws = tuple(Effects(*(torch.tensor(x, dtype=torch.float64) for x in law)) for law in described)
    for law, member in zip(laws, members, strict=True):
        is_fine = law.mean.shape == law.sd.shape == member.z[0].shape
        if not is_fine or not (law.mean.isfinite() & law.sd.isfinite() & (law.sd > 0.0)).all():
            raise ValueError("its random effects are not those of its components")
    return laws


def _component(name: str, settings: dict[str, Any]) -> Component:
    if not all(isinstance(value, str | bool | int | float) for value in settings.values()):
        raise ValueError(f"the settings of its {name} are not plain")
    given = {key: value for key, value in settings.items() if key != "period"}
    size = {"period": _positive(settings["period"])} if "period" in settings else {}
    component: Component = build_part(COMPONENTS, part(name, **given), "component", **size)
    if component.n_states > 1000:
        raise ValueError(f"its {name} has {component.n_states} states")
    return component


def _positive(number: Any) -> float:
    if not isinstance(number, int | float) or not 0.0 < number < float("inf"):
        raise ValueError(f"{number!r} is not a positive number")
    return float(number)
