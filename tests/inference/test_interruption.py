from __future__ import annotations

import time

import pytest

from tests.inference.densities import Normal, Written, log_normal_density
from tsode.errors import TsodeWarning
from tsode.inference.infer import infer


class Interrupted(Normal):
    """A normal law whose call number `n` is interrupted by Ctrl-C."""

    def __init__(self, n: int) -> None:
        super().__init__(3, 0.5)
        self.n_left = n

    def log_prob(self, u):
        self.n_left -= 1
        if self.n_left == 0:
            raise KeyboardInterrupt
        return super().log_prob(u)

    def select(self, problems):
        return self


@pytest.mark.parametrize(("engine", "n"), [("auto", 3), ("auto", 6), ("auto", 8), ("auto", 12), ("hmc", 120)])
def test_ctrl_c_keeps_the_best_so_far_and_says_so(engine, n):
    density = Interrupted(n)
    with pytest.warns(TsodeWarning, match="interrupted during"):
        posterior = infer(density, engine, 0)
    assert density.n_left == 0
    assert posterior.problems[0][-1].startswith("unfinished: interrupted during")
    assert posterior.draws.isfinite().all()
    if n > 6:  # the mode was found
        assert ((posterior.mean - density.mean).abs() < 0.5).all()


def test_ctrl_c_before_anything_is_known_goes_on_up():
    with pytest.raises(KeyboardInterrupt):
        infer(Interrupted(1), random_state=0)


def test_time_that_is_up_keeps_the_best_so_far_and_says_so():
    def slow(u):
        time.sleep(0.05)
        return log_normal_density(u).sum(-1)

    started = time.monotonic()
    with pytest.warns(TsodeWarning, match="stopped after max_seconds=0.3 during"):
        posterior = infer(Written(slow, ("a", "b", "c"), scale=2.0), "hmc", 0, max_seconds=0.3)
    assert time.monotonic() - started < 1.5
    assert posterior.engine == ("laplace",)
    assert posterior.draws.isfinite().all()


def test_an_error_of_the_density_is_no_rejection():
    def broken(u):
        raise TypeError("a bug of the user's")

    with pytest.raises(TypeError, match="user's"):
        infer(Written(broken, ("a",)), random_state=0)


def test_progress_is_told_after_each_call():
    told: list[tuple[str, int, float]] = []
    posterior = infer(Normal(3), random_state=0, progress=lambda *what: told.append(what))
    assert [n for _, n, _ in told] == list(range(1, len(told) + 1))
    assert len(told) == posterior.effort.n_value_calls + posterior.effort.n_slope_calls
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["prior", "modes", "importance sampling", "check"]


def test_a_progress_bar_is_drawn_when_asked_for(capsys):
    infer(Normal(1), random_state=0, verbose=True)
    assert "posterior" in capsys.readouterr().err
    infer(Normal(1), random_state=0)
    assert capsys.readouterr().err == ""
