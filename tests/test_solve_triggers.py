"""Known dynamics through events that the state sets off, together with those at known times."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import Trigger, ZenoError, find_crossings, solve, solve_schedule
from tsode.errors import SolverError
from tsode.frames.schedule import read_schedule

G = 9.81
START = {"height": 1.0, "speed": 0.0}
KICKS = pd.DataFrame(
    {"unique_id": ["a", "b"], "ds": [1.0, 0.3], "kind": "add", "target": "speed", "amount": [3.0, -2.0]}
)


def fall(t, z):
    return torch.stack([z[:, 1], torch.full_like(z[:, 1], -G)], dim=1)


def bounce(restitution=0.8, **how):
    back = torch.as_tensor(restitution, dtype=torch.float64)
    return Trigger(lambda t, z: z[:, 0], -1, lambda t, z: torch.stack([0.0 * z[:, 0], -back * z[:, 1]], dim=1), **how)


def landing(height, speed):
    """Time to the floor, and the speed there."""
    time = (speed + math.sqrt(speed**2 + 2.0 * G * height)) / G
    return time, speed - G * time


def test_a_ball_bounces_at_the_published_times():
    met = find_crossings(fall, START, 2.0, [bounce()], t0=0.0)
    np.testing.assert_allclose(met["ds"], [0.451523640985731, 1.1739614665629, 1.75191172702464], atol=1e-9, rtol=0)
    np.testing.assert_allclose(met["speed-after"], -0.8 * met["speed-before"], rtol=1e-12)
    assert met["trigger"].tolist() == [0, 0, 0]
    assert not met["is_grazing"].any()
    height = solve(fall, START, [1.5], triggers=[bounce()], t0=0.0)["height"]
    assert height.item() == pytest.approx(0.402862021820298, abs=1e-9)


def test_kicks_and_bounces_come_in_the_order_of_their_times():
    met = find_crossings(fall, START, 1.5, [bounce()], events=KICKS, t0=0.0)
    speed = -G * 0.3 - 2.0
    first, before = landing(1.0 - G * 0.3**2 / 2.0, speed)
    second, _ = landing(0.0, -0.8 * before)
    of_b = met[met["unique_id"] == "b"]["ds"].to_numpy()
    np.testing.assert_allclose(of_b, [0.3 + first, 0.3 + first + second], rtol=1e-9)
    at, before = landing(1.0, 0.0)
    since = 1.0 - at
    height, speed = -0.8 * before * since - G * since**2 / 2.0, -0.8 * before - G * since + 3.0
    assert met[met["unique_id"] == "a"]["ds"].tolist() == pytest.approx([at, 1.0 + landing(height, speed)[0]], rel=1e-9)


def test_a_series_is_solved_with_others_as_alone():
    asked = [0.3, 1.0, 1.2, 1.5]
    together = solve(fall, START, asked, events=KICKS, triggers=[bounce()], t0=0.0)
    for key, own in KICKS.groupby("unique_id"):
        alone = solve(fall, START, {key: asked}, events=own, triggers=[bounce()], t0=0.0)
        part = together[together["unique_id"] == key].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, part, rtol=1e-10, atol=1e-12)
    fewer = solve(fall, START, [1.2], events=KICKS, triggers=[bounce()], t0=0.0)
    expected = together[together["ds"] == 1.2].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer, expected, rtol=1e-9, atol=1e-10)


def test_a_series_stands_still_after_a_terminal_event():
    stop = Trigger(lambda t, z: z[:, 0], direction=-1, terminal=True)
    states = solve(fall, START, [0.2, 0.8, 1.4], events=KICKS, triggers=[stop], t0=0.0)
    landed = states[states["ds"] > 0.5]
    assert landed["height"].abs().max() < 1e-9
    assert landed.groupby("unique_id")["speed"].nunique().tolist() == [1, 1], "later kicks do not move it."


def test_a_threshold_doses_by_itself():
    """Ten units are given whenever what is left of them has fallen to 2."""
    refill = Trigger(lambda t, z: z[:, 0] - 2.0, direction=-1, reset=lambda t, z: z + 10.0)
    met = find_crossings(lambda t, z: -0.1 * z, {"drug": 5.0}, 60.0, [refill], t0=0.0)
    first, period = math.log(5.0 / 2.0) / 0.1, math.log(12.0 / 2.0) / 0.1
    np.testing.assert_allclose(met["ds"], first + period * np.arange(len(met)), rtol=1e-9)
    assert len(met) == 3
    np.testing.assert_allclose(met["drug-after"], 12.0, rtol=1e-9)


def test_an_infusion_goes_on_through_a_trigger():
    refill = Trigger(lambda t, z: z[:, 0] - 2.0, direction=-1, reset=lambda t, z: z + 10.0)
    infusion = pd.DataFrame({"ds": [0.0], "kind": "rate", "amount": 0.0, "rate": 0.1})
    met = find_crossings(lambda t, z: -0.1 * z, {"drug": 5.0}, 40.0, [refill], events=infusion, t0=0.0)
    # to 1 with a rate of .1: z = 1 + (z0 - 1) exp(-.1 t)
    times = [math.log(4.0 / 1.0) / 0.1, math.log(4.0 / 1.0) / 0.1 + math.log(11.0 / 1.0) / 0.1]
    np.testing.assert_allclose(met["ds"], times, rtol=1e-9)


def test_gradients_go_through_kicks_and_bounces():
    schedule = read_schedule([1.5], KICKS, states=list(START), t0=0.0)

    def height(restitution):
        return solve_schedule(fall, START, schedule, triggers=[bounce(restitution)])[:, 0]

    restitution = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(height, (restitution,), eps=1e-6, atol=1e-6, rtol=1e-6)


def test_bounces_of_datetimes_are_told_to_the_microsecond():
    start = pd.Timestamp("2024-01-01", tz="UTC")
    met = find_crossings(fall, START, start + pd.Timedelta("1s"), [bounce()], t0=start, time_unit="1s")
    assert met["ds"].tolist() == [start + pd.Timedelta("451524us")]


def test_bounces_without_end_name_the_series_and_the_time():
    with pytest.raises(ZenoError, match=r"'b' \(events accumulate at t = 4\.0637"):
        solve(fall, START, {"a": [1.0], "b": [5.0]}, triggers=[bounce()], t0=0.0)


def test_all_rises_of_a_fast_surface_are_found():
    met = find_crossings(
        lambda t, z: torch.ones_like(z), {"y": 0.0}, 30.0, [Trigger(lambda t, z: torch.sin(10 * t), 1)], t0=0.01
    )
    np.testing.assert_allclose(met["ds"], 2 * math.pi / 10 * np.arange(1, 48), atol=1e-9, rtol=0)


def test_a_tank_that_is_empty_names_its_series_and_the_time():
    floor = Trigger(lambda t, z: z[:, 0], direction=-1, reset=lambda t, z: torch.zeros_like(z))

    def drain(t, z):
        return -torch.ones_like(z)

    assert solve(drain, {"level": 1.0}, [0.5], triggers=[floor], t0=0.0)["level"].tolist() == pytest.approx([0.5])
    for ask in (
        lambda: solve(drain, {"level": 1.0}, {"tank": [0.5, 1.5, 3.0]}, triggers=[floor], t0=0.0),
        lambda: find_crossings(drain, {"level": 1.0}, {"tank": 3.0}, [floor], t0=0.0),
    ):
        with pytest.raises(SolverError, match=r"'tank' \(at t = 1\) was put by a reset onto a surface.*a mode"):
            ask()


@pytest.mark.slow
def test_a_thousand_equal_gaps_and_more_are_no_accumulation():
    spike = Trigger(lambda t, z: z[:, 0] - 1.0, direction=1, reset=lambda t, z: 0 * z)
    met = find_crossings(lambda t, z: 1.0 + 0 * z, {"v": 0.0}, 1100.5, [spike], t0=0.0)
    np.testing.assert_allclose(met["ds"], np.arange(1, 1101), rtol=1e-12)
