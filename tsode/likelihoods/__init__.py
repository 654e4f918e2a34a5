"""Distributions of what is observed, given the state."""

from tsode._registry import Registry
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.laplace import Laplace
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.student_t import StudentT

__all__ = ["LIKELIHOODS", "Laplace", "Likelihood", "Normal", "NormalMixture", "StudentT"]

LIKELIHOODS: Registry[type[Likelihood]] = Registry(
    "likelihood",
    Likelihood,
    {"laplace": Laplace, "normal": Normal, "normal_mixture": NormalMixture, "student_t": StudentT},
)
