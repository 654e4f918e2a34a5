"""`PathRegressor` against Gaussian process regression with the same kernel, written densely."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tsode import PathRegressor
from tsode.errors import DataError, ParameterError


def path(n: int = 40, n_columns: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Irregular observations, some at one time, of a wave, a linear term and noise."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0.0, 10.0, n)
    t[3] = t[7]
    u = rng.normal(size=(n, n_columns))
    y = 5.0 + np.sin(t) + u @ np.arange(1.0, n_columns + 1.0) + 0.1 * rng.normal(size=n)
    return np.column_stack([t, u]), y


@pytest.mark.parametrize("smoothness", [0.5, 1.5, 2.5])
def test_of_times_alone_it_is_gaussian_process_regression(smoothness):
    X, y = path(n_columns=0)
    y = y - y.mean()
    regressor = PathRegressor(smoothness=smoothness, length_scale=1.3, noise_share=0.2).fit(X, y)
    variance = regressor.scale_**2
    kernel = 0.8 * variance * Matern(1.3, nu=smoothness) + WhiteKernel(0.2 * variance)
    dense = GaussianProcessRegressor(kernel, optimizer=None).fit(X, y - regressor.intercept_)
    at = np.array([[-2.0], [0.5], [X[3, 0]], [4.0], [12.0]])
    np.testing.assert_allclose(regressor.predict(at) - regressor.intercept_, dense.predict(at), atol=1e-9)


def test_columns_and_their_doubt_are_those_of_a_linear_kernel():
    X, y = path()
    regressor = PathRegressor(length_scale=0.8, noise_share=0.1, alpha=0.5).fit(X, y)
    at, _ = path(9, seed=1)
    u, v = ((Z[:, 1:] - X[:, 1:].mean(axis=0)) / X[:, 1:].std(axis=0) for Z in (X, at))
    flat = 1e7  # prior variance of the intercept, which `PathRegressor` gives a flat prior
    kernel = Matern(0.8, nu=1.5)
    within = 0.9 * kernel(X[:, :1]) + u @ u.T / 0.5 + flat + 0.1 * np.eye(len(y))
    across = 0.9 * kernel(at[:, :1], X[:, :1]) + v @ u.T / 0.5 + flat
    mean = across @ np.linalg.solve(within, y)
    own = 1.0 + (v**2).sum(axis=1) / 0.5 + flat
    variance = regressor.scale_**2 * (own - np.einsum("mn,nm->m", across, np.linalg.solve(within, across.T)))
    found, std = regressor.predict(at, return_std=True)
    np.testing.assert_allclose(found, mean, atol=1e-5)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-5)


def test_the_search_finds_the_highest_likelihood_that_a_dense_model_sees():
    X, y = path(60, n_columns=0)
    regressor = PathRegressor().fit(X, y)

    def log_likelihood(length: float, noise: float) -> float:
        cov = (1.0 - noise) * Matern(length, nu=1.5)(X) + noise * np.eye(len(y))
        inverse = np.linalg.inv(cov)
        level = inverse.sum(axis=0) @ y / inverse.sum()
        squares = (y - level) @ inverse @ (y - level)
        log_det = np.linalg.slogdet(cov)[1] + np.log(inverse.sum())
        return float(-0.5 * ((len(y) - 1) * np.log(squares) + log_det))

    best = log_likelihood(regressor.length_scale_, regressor.noise_share_)
    grid = [log_likelihood(a, b) for a in np.geomspace(0.1, 40.0, 30) for b in np.geomspace(1e-3, 1.0, 30)]
    assert best > max(grid) - 0.01


def test_without_a_process_it_is_ridge_regression():
    X, y = path()
    regressor = PathRegressor(noise_share=1.0, length_scale=1.0, alpha=2.0).fit(X, y)
    u = (X[:, 1:] - X[:, 1:].mean(axis=0)) / X[:, 1:].std(axis=0)
    ridge = Ridge(alpha=2.0).fit(u, y)
    np.testing.assert_allclose(regressor.predict(X), ridge.predict(u), rtol=1e-9)
    np.testing.assert_allclose(regressor.coef_, ridge.coef_ / X[:, 1:].std(axis=0), rtol=1e-9)


def test_coefficients_of_a_driven_wave_are_recovered():
    X, y = path(200)
    regressor = PathRegressor().fit(X, y)
    np.testing.assert_allclose(regressor.coef_, [1.0, 2.0], atol=0.06)  # noise .1, 200 rows: 6 standard errors are .05


def test_a_row_is_predicted_alike_alone_and_in_any_company_and_time_has_no_origin():
    X, y = path()
    regressor = PathRegressor().fit(X, y)
    at, _ = path(9, seed=1)
    together = regressor.predict(at)
    np.testing.assert_allclose([regressor.predict(at[[k]])[0] for k in range(9)], together, rtol=1e-12)
    moved = PathRegressor().fit(X + [1024.0, 0.0, 0.0], y).predict(at + [1024.0, 0.0, 0.0])
    np.testing.assert_allclose(moved, together, rtol=1e-8)


def test_doubt_widens_in_a_gap_and_covers_new_observations():
    rng = np.random.default_rng(2)
    t = np.sort(np.concatenate([rng.uniform(0, 8, 120), rng.uniform(12, 20, 120)]))
    y = np.sin(t) + 0.2 * rng.normal(size=len(t))
    regressor = PathRegressor().fit(t[::2, None], y[::2])
    mean, std = regressor.predict(t[1::2, None], return_std=True)
    inside = np.abs(y[1::2] - mean) < 1.96 * std
    assert 0.83 < inside.mean() <= 1.0  # .95 less six standard errors of 120
    gap = regressor.predict(np.array([[10.0], [4.0]]), return_std=True)[1]
    assert gap[0] > 1.5 * gap[1]


def test_values_that_were_not_observed_are_left_out():
    X, y = path()
    is_seen = np.arange(len(y)) % 3 > 0
    regressor = PathRegressor().fit(X, np.where(is_seen, y, np.nan))
    np.testing.assert_array_equal(regressor.predict(X), PathRegressor().fit(X[is_seen], y[is_seen]).predict(X))
    with pytest.raises(DataError, match="at least two observed values"):
        PathRegressor().fit(X, np.full(len(y), np.nan))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"smoothness": 1.0}, "must be 0.5, 1.5 or 2.5, but is 1.0"),
        ({"length_scale": 0.0}, "length_scale must be positive or None"),
        ({"noise_share": 0.0}, r"noise_share is a share, in \(0, 1\]"),
        ({"alpha": 0.0}, "alpha must be positive"),
    ],
)
def test_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(ParameterError, match=message):
        PathRegressor(**params).fit(*path())


@pytest.mark.slow
def test_it_stands_in_the_searches_and_wrappers_of_scikit_learn():
    X, y = path(60)
    X, y = X[np.argsort(X[:, 0])], y[np.argsort(X[:, 0])]
    model = make_pipeline(FunctionTransformer(lambda Z: Z * [2.0, 1.0, 1.0]), PathRegressor())
    assert cross_val_score(model, X, y, cv=KFold(3, shuffle=True, random_state=0)).min() > 0.9
    search = GridSearchCV(PathRegressor(), {"smoothness": [0.5, 2.5]}, cv=TimeSeriesSplit(3)).fit(X, y)
    assert search.best_score_ > 0.5
    logs = TransformedTargetRegressor(PathRegressor(), func=np.log, inverse_func=np.exp).fit(X, np.exp(y))
    np.testing.assert_allclose(logs.predict(X), np.exp(PathRegressor().fit(X, y).predict(X)), rtol=1e-8)
    assert "PathRegressor" in PathRegressor()._repr_html_()


@pytest.mark.parametrize(("place", "name"), [(2, "y"), (0, "column 0 of X"), (1, "column 1 of X")])
def test_values_that_float64_cannot_square_are_refused_by_name(place, name):
    rng = np.random.default_rng(0)
    columns = [np.arange(6.0), rng.normal(size=6), rng.normal(size=6)]
    columns[place] = columns[place] * 1e300
    with pytest.raises(DataError, match=f"values of {name} are too large"):
        PathRegressor().fit(np.stack(columns[:2], axis=1), columns[2])
