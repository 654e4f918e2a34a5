"""Likelihoods: from parameters that a readout gives to a distribution of one channel's value."""

from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.student_t import StudentT

__all__ = ["LIKELIHOODS", "Likelihood", "Normal", "StudentT"]

LIKELIHOODS: dict[str, type[Likelihood]] = {"normal": Normal, "student_t": StudentT}
