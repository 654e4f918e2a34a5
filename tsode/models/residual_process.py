"""Gaussian process of standardised forecast errors: ties marginal forecasts into joint sample paths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.core.forecast import Forecast

__all__ = ["ResidualProcess"]


class ResidualProcess(nn.Module):
    """Gaussian process of the standardised forecast error, with the forecast's own spread as its variance.

    The error of a channel is ``e(t) = x(t) + w(t)``: white observation noise ``w`` and a Markov part ``x`` that
    forgets at the rate ``1 / length``. With ``v(t)`` the forecast variance less that of ``w``,

    ``x(t') = a x(t) + sqrt(v(t') - a^2 v(t)) xi``, ``a = min(exp(-(t' - t) / length), sqrt(v(t') / v(t)))``,

    so that every marginal is the forecast's own. For a scalar linear SDE seen with or without noise this is the
    exact joint law of its forecast errors. The ``xi`` of different channels are correlated by ``correlation``.

    Parameters
    ----------
    n_channels : int
    """

    length: Tensor
    noise: Tensor
    correlation: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("length", torch.ones(n_channels))
        self.register_buffer("noise", torch.zeros(n_channels))  # variance of the white part
        self.register_buffer("correlation", torch.eye(n_channels))

    def normal_scores(self, forecast: Forecast, segment: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal scores, dependent in time, at the forecast's query times.

        Parameters
        ----------
        forecast : Forecast
            Query times in increasing order along each row.
        segment : Tensor[b m]
            Number of observations behind each query; one between two queries starts the error anew.

        Returns
        -------
        Tensor[s b m c]
        """
        variance = forecast.variance
        b, m, c = variance.shape
        white = torch.minimum(self.noise.to(variance), 0.999 * variance)
        smooth = variance - white
        root = torch.linalg.cholesky(self.correlation.to(variance))
        shape = (m, n_samples, b, c)
        shock = torch.randn(shape, generator=generator, dtype=torch.float64).to(variance) @ root.T
        noise = torch.randn(shape, generator=generator, dtype=torch.float64).to(variance)
        gap = forecast.query_times.diff(dim=1)[..., None].to(variance)
        scores = []
        x = torch.zeros(n_samples, b, c, dtype=variance.dtype, device=variance.device)
        for k in range(m):
            if k == 0:
                x = shock[0] * smooth[:, 0].sqrt()
            else:
                keep = (-gap[:, k - 1] / self.length.to(variance)).exp()
                keep = torch.minimum(keep, (smooth[:, k] / smooth[:, k - 1]).sqrt())
                keep = torch.where((segment[:, k] == segment[:, k - 1])[:, None], keep, 0.0)
                fresh = (smooth[:, k] - keep**2 * smooth[:, k - 1]).clamp(min=0.0).sqrt()
                x = keep * x + fresh * shock[k]
            scores.append((x + noise[k] * white[:, k].sqrt()) / variance[:, k].sqrt())
        return torch.stack(scores, dim=2)

    @torch.no_grad()
    def fit(self, times: Tensor, error: Tensor, variance: Tensor, mask: Tensor) -> None:
        """Estimate lengths, noise and correlation from held-out forecast errors.

        Lengths and noise maximise, on a grid, the Gaussian likelihood of pairs of errors of one channel at successive
        times of one forecast; the correlation is that of errors at one time, shrunk towards none where few were seen.

        Parameters
        ----------
        times : Tensor[b m], float64
            Query times, increasing along a row.
        error, variance : Tensor[b m c]
        mask : Tensor[b m c], bool
            Where the truth was seen.
        """
        error, variance = error.double(), variance.double()
        for channel in range(error.shape[2]):
            pairs = _successive_pairs(times, error[..., channel], variance[..., channel], mask[..., channel])
            if pairs is not None:
                self.length[channel], self.noise[channel] = _fit_channel(*pairs)
        score = torch.where(mask, error / variance.sqrt(), 0.0).flatten(0, 1)
        seen = mask.double().flatten(0, 1)
        together, product = seen.T @ seen, score.T @ score
        power = (score**2).T @ seen
        correlation = product / (power * power.T).sqrt().clamp(min=1e-12) * together / (together + 30.0)
        correlation.fill_diagonal_(1.0)
        values, vectors = torch.linalg.eigh(correlation)
        correlation = vectors @ torch.diag(values.clamp(min=1e-3)) @ vectors.T
        scale = correlation.diagonal().sqrt()
        self.correlation.copy_(correlation / (scale[:, None] * scale))


def _successive_pairs(times: Tensor, error: Tensor, variance: Tensor, mask: Tensor) -> tuple[Tensor, ...] | None:
    """Gap, errors and variances of successive seen entries of a row, at most 20 000 pairs."""
    rows, columns = mask.nonzero(as_tuple=True)
    same = (rows[1:] == rows[:-1]).nonzero()[:20_000, 0]
    if len(same) < 10:
        return None
    first, second = (rows[same], columns[same]), (rows[same + 1], columns[same + 1])
    return times[second] - times[first], error[first], error[second], variance[first], variance[second]


def _fit_channel(gap: Tensor, e0: Tensor, e1: Tensor, v0: Tensor, v1: Tensor) -> tuple[Tensor, Tensor]:
    """Length and noise variance of highest pair likelihood."""
    typical = gap[gap > 0].median() if bool((gap > 0).any()) else gap.new_ones(())
    lengths = typical * torch.logspace(-2, 4, 25, dtype=gap.dtype)
    noises = torch.minimum(v0, v1).quantile(0.1) * torch.linspace(0.0, 0.95, 12, dtype=gap.dtype)
    length, noise = (grid.reshape(-1, 1) for grid in torch.meshgrid(lengths, noises, indexing="ij"))
    white = torch.minimum(noise, 0.999 * torch.minimum(v0, v1))
    s0, s1 = v0 - white, v1 - white
    covariance = torch.minimum((-gap / length).exp(), (s1 / s0).sqrt()) * s0
    determinant = (v0 * v1 - covariance**2).clamp(min=1e-12)
    form = (e0**2 * v1 - 2.0 * e0 * e1 * covariance + e1**2 * v0) / determinant
    best = (form + determinant.log()).mean(dim=1).argmin()
    return length[best, 0], noise[best, 0]
