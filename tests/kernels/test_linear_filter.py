"""Log-likelihood of linear-Gaussian systems by the sweep against the plain filter and its gradients."""

import torch

from tsode.core.batch import IrregularBatch
from tsode.kernels.linear_filter import log_likelihood
from tsode.models.linear.sde import StableLinearSDE


def _case() -> tuple[StableLinearSDE, IrregularBatch]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = StableLinearSDE(3, 5, n_inputs=2)
        times = torch.rand(4, 6, dtype=torch.float64).cumsum(dim=1)
        times[2, 3] = times[2, 2]
        values, mask = torch.randn(4, 6, 3, dtype=torch.float64), torch.rand(4, 6, 3) < 0.6
        inputs = torch.randn(4, 6, 2, dtype=torch.float64) * (torch.rand(4, 6, 1) < 0.3)
        mask[1, 2] = False
    batch = IrregularBatch(times, values * mask, mask, torch.full((4,), 6), inputs)
    return model, batch


def _swept(model: StableLinearSDE, batch: IrregularBatch) -> torch.Tensor:
    system = model.system()
    steps = system.transitions(batch.times.diff(dim=1, prepend=batch.times[:, :1]))
    start = torch.eye(model.n_state, dtype=torch.float64).expand(batch.n_series, -1, -1)
    values = batch.values - system.readout_offset
    return log_likelihood(
        steps.phi, steps.cov, start, system.readout, system.noise**2, values, batch.mask, system.input_jumps(batch)
    )


def test_log_likelihood_is_that_of_the_plain_filter() -> None:
    model, batch = _case()
    torch.testing.assert_close(_swept(model, batch), model.log_likelihood(batch), rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_the_plain_filter() -> None:
    model, batch = _case()
    weights = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)
    parameters = list(model.parameters())
    plain = torch.autograd.grad((weights * model.log_likelihood(batch)).sum(), parameters)
    swept = torch.autograd.grad((weights * _swept(model, batch)).sum(), parameters)
    for one, other in zip(plain, swept):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-10)
