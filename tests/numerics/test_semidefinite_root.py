import torch
from torch.autograd import gradcheck

from tsode.numerics.semidefinite_root import semidefinite_root


def test_root_of_a_regular_covariance_is_cholesky_s():
    x = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cov = x @ x.mT
    torch.testing.assert_close(semidefinite_root(cov), torch.linalg.cholesky(cov))


def test_root_of_a_singular_covariance_squares_to_it():
    x = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cov = torch.cat([x @ x.mT, torch.zeros(1, 4, 4).double(), torch.diag(torch.tensor([0.0, 1, 0, 2]).double())[None]])
    root = semidefinite_root(cov)
    torch.testing.assert_close(root @ root.mT, cov, atol=1e-7, rtol=0)
    assert torch.equal(root[5], torch.zeros(4, 4).double())


def test_gradient_is_right_where_eigenvalues_are_equal():
    def root(scale):
        return semidefinite_root(scale * torch.eye(3, dtype=torch.float64))

    assert gradcheck(root, torch.tensor(2.0, dtype=torch.float64, requires_grad=True))


def test_what_is_not_finite_stays_so_in_its_own_row():
    cov = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    cov[0, 0, 0] = torch.nan
    root = semidefinite_root(cov)
    assert root[0].isnan().any()
    assert torch.equal(root[1], torch.eye(2).double())
