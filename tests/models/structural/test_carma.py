"""CARMA part: the covariance of its spectrum, whatever its roots."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad

from tests.models.structural.components import dense
from tsode import LinearSDEForecaster, part
from tsode.errors import ParameterError
from tsode.models.structural import CARMA, Matern

ROOTS = {"two waves": 0.2, "double": 1.0, "nearly double": 1.0 + 1e-9, "two decays": 3.0}


def _given(ratio: float, moving_average: float, time: float = 0.3, variance: float = 1.7) -> dict[str, torch.Tensor]:
    given = {"variance": variance, "time": time, "damping_ratio": ratio, "moving_average": moving_average}
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in given.items()}


def _spectral(lag: float, ratio: float, moving_average: float, time: float = 0.3) -> float:
    """Integral of the spectrum of ``y'' + 2 ratio y' / time + y / time^2 = W' + moving_average time W''``."""

    def spectrum(w: float) -> float:
        numerator = 1.0 + (moving_average * time * w) ** 2
        return numerator / ((time**-2 - w * w) ** 2 + (2.0 * ratio / time * w) ** 2)

    corner = 3.0 / time  # beyond it there is but a tail
    if lag == 0.0:
        return sum(
            quad(spectrum, *ends, epsabs=0.0, epsrel=1e-11, limit=500)[0] for ends in ((0, corner), (corner, np.inf))
        )
    near = quad(spectrum, 0.0, corner, weight="cos", wvar=lag, epsabs=1e-12, limit=500)[0]
    return near + quad(spectrum, corner, np.inf, weight="cos", wvar=lag, epsabs=1e-9, limlst=500, limit=500)[0]


@pytest.mark.parametrize("moving_average", [0.0, 0.4, 5.0])
@pytest.mark.parametrize("roots", ROOTS)
def test_covariance_is_that_of_the_spectrum(roots: str, moving_average: float) -> None:
    ratio, lags = ROOTS[roots], np.array([0.01, 0.05, 0.3, 1.0, 2.5])
    component, given = CARMA(), _given(ratio, moving_average)
    matrix, _ = dense(component.steps(torch.from_numpy(lags)[:, None], **given))
    found = matrix[:, 0, 0, 0] * component.start(**given)[0, 0]
    power = _spectral(0.0, ratio, moving_average)
    wanted = [1.7 * _spectral(lag, ratio, moving_average) / power for lag in lags]
    np.testing.assert_allclose(found, wanted, atol=1e-8)


@pytest.mark.parametrize("moving_average", [0.0, 0.7])
def test_nothing_jumps_where_waves_become_decays_or_gaps_grow(moving_average: float) -> None:
    component, gaps = CARMA(), torch.tensor([[1e-7], [1e-3], [0.02], [0.9], [30.0]], dtype=torch.float64)
    for ratio in (1e-3, 0.3, 0.9, 1.0, 1.1, 3.0, 100.0):
        below, above = (component.steps(gaps, **_given(ratio * (1.0 + e), moving_average)) for e in (-1e-9, 1e-9))
        for one, other in zip(below, above):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12)
        for switch in (0.2 * 0.3 / (1.0 + ratio), 0.3 * np.sqrt(0.1 / max(abs(ratio**2 - 1.0), 1e-12))):
            around = torch.tensor([[switch * (1.0 - 1e-12)], [switch * (1.0 + 1e-12)]], dtype=torch.float64)
            for part_of_it in component.steps(around, **_given(ratio, moving_average)):
                torch.testing.assert_close(part_of_it[0], part_of_it[1], rtol=1e-8, atol=1e-14)


def test_without_moving_average_and_with_a_double_root_it_is_a_matern_part() -> None:
    gaps = torch.logspace(-6, 2, 60, dtype=torch.float64)[:, None]
    given = _given(1.0, 0.0)
    del given["moving_average"]
    one = CARMA(q=0).steps(gaps, **given)
    other = Matern().steps(gaps, variance=given["variance"], time=given["time"])
    for mine, theirs in zip(one, other):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-15)


def test_slopes_are_finite_and_right_on_both_sides_of_every_switch() -> None:
    gaps = torch.tensor([[1e-8], [0.02], [0.3]], dtype=torch.float64)
    for ratio in (0.3, 1.0, 4.0):
        given = {name: value.requires_grad_() for name, value in _given(ratio, 0.5).items()}

        def values(*parameters: torch.Tensor, names: tuple[str, ...] = tuple(given)) -> tuple[torch.Tensor, ...]:
            return tuple(CARMA().steps(gaps, **dict(zip(names, parameters))))

        assert torch.autograd.gradcheck(values, tuple(given.values()), eps=1e-6, atol=1e-7)


def test_a_forecaster_takes_it_by_name_and_refuses_other_orders() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 10.0, 40))
    data = {"y": np.sin(3.0 * times) + 0.1 * rng.normal(size=40)}
    frame = pd.DataFrame(data, index=times)
    forecaster = LinearSDEForecaster(components=[part("carma", q=0)], random_state=0).fit(frame)
    summary = forecaster.summary().loc["y", "carma"]
    assert summary["unit"][["time", "damping_ratio"]].tolist() == ["time", ""]
    assert 2.0 * np.pi * summary.loc["time", "median"] == pytest.approx(2.0 * np.pi / 3.0, rel=0.1)
    with pytest.raises(ParameterError, match="q=2 of component 'carma' must be 0 or 1"):
        LinearSDEForecaster(components=[part("carma", q=2)]).fit(frame)
