"""Noise of observed channels, one file each."""

from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.noise.base import Between, Noise
from tsode.inference.noise.combined import CombinedNoise
from tsode.inference.noise.log_normal import LogNormalNoise
from tsode.inference.noise.negative_binomial import NegativeBinomialNoise
from tsode.inference.noise.poisson import PoissonNoise
from tsode.inference.noise.proportional import ProportionalNoise
from tsode.inference.noise.student_t import StudentTNoise

__all__ = [
    "NOISES",
    "AdditiveNoise",
    "Between",
    "CombinedNoise",
    "LogNormalNoise",
    "NegativeBinomialNoise",
    "Noise",
    "PoissonNoise",
    "ProportionalNoise",
    "StudentTNoise",
]

NOISES: dict[str, type[Noise]] = {
    cls.__name__: cls
    for cls in (
        AdditiveNoise,
        CombinedNoise,
        LogNormalNoise,
        NegativeBinomialNoise,
        PoissonNoise,
        ProportionalNoise,
        StudentTNoise,
    )
}
