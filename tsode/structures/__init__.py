"""Structures of known systems: which terms of the rates are present, by ensembles weighted by evidence."""

from tsode.structures.compare import compare_structures
from tsode.structures.comparison import StructureComparison
from tsode.structures.equivalence import EquivalenceClass

__all__ = ["EquivalenceClass", "StructureComparison", "compare_structures"]
