"""Distributions of what is observed, given the state."""

from tsode._registry import Registry
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.student_t import StudentT

__all__ = ["LIKELIHOODS", "Likelihood", "Normal", "NormalMixture", "StudentT"]

LIKELIHOODS: Registry[type[Likelihood]] = Registry(
    "likelihood", Likelihood, {"normal": Normal, "normal_mixture": NormalMixture, "student_t": StudentT}
)
