import copy

import numpy as np
import pytest
from scipy.optimize import minimize
from torch import tensor

from tests.influence.scenes import ou_panel
from tsode import LastValueForecaster, LinearSDEForecaster
from tsode.errors import DataError, ParameterError
from tsode.influence import influence
from tsode.influence.left_out import LeftOut
from tsode.influence.proximal import ProximalObjective


@pytest.fixture(scope="module")
def panel():
    return ou_panel(8, 12)


def fit(data):
    return LinearSDEForecaster(n_state=1, max_epochs=3, random_state=0).fit(data)


@pytest.fixture(scope="module")
def fitted(panel):
    return fit(panel)


@pytest.mark.slow
def test_warm_minima_are_those_that_another_search_finds(fitted, panel):
    """L-BFGS of SciPy from the fitted weights knows neither the Newton steps nor where they start."""
    objective = ProximalObjective(fitted.module_, fitted.reader_.series(fitted._panel), fitted.max_context)

    def least(out):
        rest = objective.rest(out)

        def value(x):
            loss, slope = objective.value(tensor(x), rest)
            return loss, slope.numpy()

        found = minimize(value, objective.centre.numpy(), jac=True, method="L-BFGS-B", options={"gtol": 1e-7})
        objective.place(tensor(found.x))
        other = copy.copy(fitted)
        other.module_ = copy.deepcopy(objective.module)
        return other.predict(horizon=2.0)["y"].to_numpy()

    base = least(None)
    truth = np.array([np.sqrt(np.mean((least(LeftOut(k)) - base) ** 2)) for k in range(8)])
    ids = list(fitted._panel.ids)
    warm = influence(fitted, horizon=2.0, method="warm").set_index("series")
    assert (warm["status"] == "ok").all()
    np.testing.assert_allclose(warm["rms"].loc[ids], truth, rtol=1e-2, atol=1e-5)


def test_attrs_tell_what_holds_the_weights_and_how_far_the_minimum_with_all_series_is(fitted):
    objective = ProximalObjective(fitted.module_, fitted.reader_.series(fitted._panel), fitted.max_context)
    least, _ = objective.settle(objective.centre)
    attrs = influence(fitted, horizon=2.0, method="implicit").attrs
    assert attrs["method"] == "implicit"
    assert attrs["hold"] == 1.0
    assert attrs["distance"] == pytest.approx(float((least - objective.centre).norm()))
    assert attrs["distance"] > 0.1


@pytest.mark.slow
def test_an_outlying_series_comes_out_on_top(panel):
    data = panel.copy()
    odd = data["unique_id"] == "s03"
    data.loc[odd, "y"] = 15.0 * np.where(np.arange(odd.sum()) % 2, 1.0, -1.0)
    assert influence(fit(data), horizon=2.0, method="implicit")["series"].iloc[0] == "s03"


@pytest.mark.slow
def test_the_order_of_series_does_not_matter(fitted, panel):
    there = influence(fitted, horizon=2.0, method="implicit").set_index("series")
    # the same weights, learned from the same series in the other order
    turned = copy.copy(fitted)
    turned._keep_histories(fitted._panel.select(range(8)[::-1]))
    back = influence(turned, horizon=2.0, method="implicit").set_index("series").loc[there.index]
    np.testing.assert_allclose(back["rms"], there["rms"], rtol=1e-6)


def test_refits_are_those_of_clones_and_need_the_training_data(panel):
    base = LastValueForecaster().fit(panel)
    found = influence(base, horizon=1.0, train=panel)
    assert found.attrs["method"] == "refit"
    left = LastValueForecaster().fit(panel[panel["unique_id"] != "s01"]).predict(horizon=1.0, context=panel)["y"]
    change = left.to_numpy() - base.predict(horizon=1.0)["y"].to_numpy()
    own = found.set_index("series").loc["s01", "rms"]
    assert own == pytest.approx(np.sqrt(np.mean(change**2)), abs=1e-12)
    with pytest.raises(ParameterError, match="give train="):
        influence(base, horizon=1.0)
    with pytest.raises(ParameterError, match="a horizon of its own"):
        influence(base, train=panel)
    with pytest.raises(ParameterError, match="method='implicit' needs a JumpODEForecaster, or a LinearSDE"):
        influence(base, horizon=1.0, method="implicit")


@pytest.mark.slow
def test_errors_say_what_is_wrong(fitted, panel):
    with pytest.raises(ParameterError, match="method='newton' is not known"):
        influence(fitted, method="newton")
    with pytest.raises(DataError, match="1 training series"):
        influence(fit(panel[panel["unique_id"] == "s00"]), horizon=1.0)
    with pytest.raises(DataError, match="s99"):
        influence(fitted, times={"s99": np.array([11.0])})
