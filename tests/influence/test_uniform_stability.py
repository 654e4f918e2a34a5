import numpy as np
import pytest

from tsode.errors import ParameterError
from tsode.influence import ridge_bound, stability_bound


def test_gradient_steps_on_ridge_stay_within_the_bound_when_an_example_is_exchanged():
    rng = np.random.default_rng(0)
    n, steps, size = 50, 200, 0.05
    x, y = rng.uniform(-1.0, 1.0, (n, 3)) / np.sqrt(3.0), rng.uniform(-1.0, 1.0, n)
    other_x, other_y = x.copy(), y.copy()
    other_x[0], other_y[0] = rng.uniform(-1.0, 1.0, 3) / np.sqrt(3.0), -y[0]
    changes, lipschitz = [], 0.0
    for seed in range(200):
        order, ends = np.random.default_rng(seed).integers(n, size=steps), []
        for inputs, targets in ((x, y), (other_x, other_y)):
            w = np.zeros(3)
            for i in order:
                slope = (inputs[i] @ w - targets[i]) * inputs[i] + 0.1 * w
                lipschitz = max(lipschitz, float(np.linalg.norm(slope)))
                w = w - size * slope
            ends.append(w)
        changes.append([0.5 * (x[k] @ ends[0] - y[k]) ** 2 - 0.5 * (x[k] @ ends[1] - y[k]) ** 2 for k in range(n)])
    change = np.abs(np.mean(changes, axis=0)).max()
    assert 0.0 < change <= stability_bound(lipschitz, np.full(steps, size), n)


def test_removing_an_example_from_ridge_stays_within_the_bound_of_its_minimiser():
    rng = np.random.default_rng(1)
    n, penalty = 40, 0.3
    x, y = rng.uniform(-1.0, 1.0, (n, 3)) / np.sqrt(3.0), rng.uniform(-1.0, 1.0, n)
    whole = np.linalg.solve(x.T @ x + n * penalty * np.eye(3), x.T @ y)
    # the theorem keeps the factor 1 / n of the mean when one example is missing
    left = [
        np.linalg.solve(x.T @ x - np.outer(x[k], x[k]) + n * penalty * np.eye(3), x.T @ y - x[k] * y[k])
        for k in range(n)
    ]
    losses = [(x @ w - y) ** 2 for w in (whole, *left)]
    change = max(np.abs(loss - losses[0]).max() for loss in losses[1:])
    slope = max(np.abs(2.0 * (x @ w - y)).max() for w in (whole, *left))
    assert 0.0 < change <= ridge_bound(slope, float(np.linalg.norm(x, axis=1).max()), penalty, n)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stability_bound(-1.0, [0.1], 5), lambda: stability_bound(1.0, [-0.1], 5),
        lambda: stability_bound(1.0, [0.1], 0), lambda: ridge_bound(1.0, 1.0, 0.0, 5),
    ],
)  # fmt: skip
def test_bounds_refuse_what_has_none(call):
    with pytest.raises(ParameterError):
        call()
