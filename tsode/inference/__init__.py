"""Bayesian inference: densities of known dynamics, the engines that answer for them, and checks of what they answer."""

from tsode.inference.dosing import Dosing
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.neural_term import NeuralTerm
from tsode.inference.noise import (
    AdditiveNoise,
    Between,
    CombinedNoise,
    LogNormalNoise,
    NegativeBinomialNoise,
    Noise,
    PoissonNoise,
    ProportionalNoise,
    StudentTNoise,
)
from tsode.inference.observations import Observations
from tsode.inference.priors import (
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    LogNormal,
    Normal,
    Prior,
    StudentT,
    Uniform,
)

__all__ = [
    "AdditiveNoise",
    "Beta",
    "Between",
    "Cauchy",
    "CombinedNoise",
    "Dosing",
    "Exponential",
    "Gamma",
    "HalfNormal",
    "InverseGamma",
    "KnownDensity",
    "KnownSystem",
    "LogNormal",
    "LogNormalNoise",
    "NegativeBinomialNoise",
    "NeuralTerm",
    "Noise",
    "Normal",
    "Observations",
    "PoissonNoise",
    "Prior",
    "ProportionalNoise",
    "StudentT",
    "StudentTNoise",
    "Uniform",
]
