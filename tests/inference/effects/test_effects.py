"""Random effects and covariates: structures of covariance, what can be written, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.errors import DataError, ParameterError
from tsode.inference.effects.covariates import Covariates, Linear, Power
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.priors import LogNormal, Normal

IDS = ["a", "b", "c"]


def numbers(**values):
    return {name: torch.tensor(x, dtype=torch.float64) for name, x in values.items()}


def test_effects_of_a_pair_have_their_correlation():
    effects = RandomEffects.read({("cl", "v"): None, "ka": None})
    found = effects.covariance(numbers(omega_cl=0.3, omega_v=0.2, omega_ka=0.5, corr_cl_v=0.6))
    expected = torch.tensor([[0.09, 0.036, 0.0], [0.036, 0.04, 0.0], [0.0, 0.0, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_every_partial_correlation_of_a_full_block_makes_a_covariance():
    effects = RandomEffects.read({("a", "b", "c"): None})
    generator = torch.Generator().manual_seed(0)
    partial = 2.0 * torch.rand(3, 500, generator=generator, dtype=torch.float64) - 1.0
    one = torch.ones(500, dtype=torch.float64)
    values = {f"omega_{name}": one for name in "abc"} | dict(zip(("corr_a_b", "corr_a_c", "corr_b_c"), partial))
    found = effects.covariance(values)
    torch.testing.assert_close(found.diagonal(dim1=-2, dim2=-1), torch.ones(500, 3, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(found).min()) > 0
    # the partial correlation of b and c given a, from the matrix itself
    ab, ac, bc = found[:, 0, 1], found[:, 0, 2], found[:, 1, 2]
    torch.testing.assert_close((bc - ab * ac) / ((1 - ab**2) * (1 - ac**2)).sqrt(), partial[2])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("ka", "takes a list of parameters"),
        ([], "is empty"),
        ({"ka": None, ("ka", "v"): None}, "'ka' twice"),
        ({"ka": Normal(0, 1)}, "prior of positive numbers"),
        ({"ka": -0.1}, "prior of positive numbers"),
        ({("a", "b"): {("a", "c"): 0.1}}, "no pair of"),
        ({("a", "b"): {"c": 0.1}}, "none of"),
        ({("a", "b"): {("a", "b"): LogNormal(0, 1)}}, "between -1 and 1"),
    ],
)
def test_effects_that_cannot_be_are_refused_by_name(given, says):
    with pytest.raises(ParameterError, match=says):
        RandomEffects.read(given)


def test_powers_linear_terms_and_categories_are_columns_of_coefficients():
    covariates = Covariates.read(
        {"cl": {"weight": 0.75, "age": Linear(Normal(0, 1), at=40.0)}, "v": {"sex": {"F": Normal(0, 0.5)}}}
    )
    table = {"weight": np.array([50.0, 70.0, 90.0]), "age": np.array([30.0, 40.0, 60.0]), "sex": np.array(list("FMF"))}
    design = covariates.fitted(table, IDS).design(table, IDS)
    np.testing.assert_allclose(design["cl"]["cl_weight"], np.log(table["weight"] / 70.0))
    np.testing.assert_allclose(design["cl"]["cl_age"], [-10.0, 0.0, 20.0])
    np.testing.assert_allclose(design["v"]["v_sex_F"], [1.0, 0.0, 1.0])
    assert covariates.parameters() == {"cl_weight": 0.75, "cl_age": Normal(0, 1), "v_sex_F": Normal(0, 0.5)}


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ([50.0, np.nan, 90.0], "missing for 1 series, the first 'b'"),
        ([50.0, -1.0, 90.0], "series 'b' is -1, and a power needs positive"),
        ([70.0, 70.0, 70.0], "is 70.0 in all series"),
        (["x", "y", "z"], "'a' is no number"),
    ],
)
def test_covariates_that_cannot_be_read_are_named_with_their_series(column, says):
    covariates = Covariates.read({"cl": {"weight": Power(Normal(0.75, 0.2))}})
    table = {"weight": np.array(column)}
    with pytest.raises(DataError, match=says):
        covariates.fitted(table, IDS).design(table, IDS)


def test_a_covariate_that_is_not_there_is_named_beside_those_that_are():
    with pytest.raises(DataError, match=r"'weight', which static= does not have\. Its columns: age"):
        Covariates.read({"cl": {"weight": 0.75}}).fitted({"age": np.ones(3)}, IDS)
