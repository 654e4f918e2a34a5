"""Methods of integrating random effects out of a likelihood."""

from __future__ import annotations

from collections.abc import Mapping

from tsode.inference.population.methods.base import Answer, Marginal
from tsode.inference.population.methods.fo import FO
from tsode.inference.population.methods.foce import FOCE
from tsode.inference.population.methods.focei import FOCEI
from tsode.inference.population.methods.importance import Importance
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.methods.quadrature import Quadrature
from tsode.inference.population.methods.stochastic import Stochastic

__all__ = ["METHODS", "Answer", "Marginal"]

METHODS: Mapping[str, type[Marginal]] = {
    method.name: method for method in (FO, FOCE, FOCEI, Importance, Laplace, Quadrature, Stochastic)
}
