import torch

from tsode.core.status import Status
from tsode.numerics.step_layout import StepLayout

STOPS = torch.tensor([[0.0, 0.3, 0.3, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 1.0, 1.7]]).double()
UNTIL = torch.tensor([0.8, 0.0, 1.0]).double()


def test_every_stop_is_the_end_of_a_step_and_no_step_is_longer_than_allowed():
    layout = StepLayout.lay(STOPS, UNTIL, 0.125, 1000)
    assert torch.equal(layout.starts[:, 1:], layout.ends[:, :-1])
    assert (layout.ends - layout.starts).max() <= 0.125 * (1 + 1e-8)
    ends = torch.nn.functional.pad(layout.ends, (1, 0))
    assert torch.equal(ends.gather(1, layout.n_before), STOPS)
    assert layout.status.tolist() == [Status.OK] * 3


def test_a_step_leads_to_the_first_stop_that_is_not_behind_it():
    layout = StepLayout.lay(STOPS, UNTIL, 0.125, 1000)
    for row in range(3):
        for k in range(layout.ends.shape[1]):
            if layout.ends[row, k] > layout.starts[row, k]:
                ahead = (STOPS[row] >= layout.ends[row, k]).nonzero()
                assert int(layout.stop[row, k]) == (int(ahead[0]) if len(ahead) else STOPS.shape[1])


def test_steps_past_the_last_stop_do_not_know_how_far_they_go():
    near, far = (StepLayout.lay(STOPS, UNTIL + more, 0.125, 1000) for more in (0.0, 5.0))
    for row in range(3):
        moves = near.ends[row] > near.starts[row]
        assert torch.equal(far.ends[row, : int(moves.sum())], near.ends[row][moves])
    assert (far.ends[:, -1] >= UNTIL + 5.0).all()


def test_a_row_of_too_many_steps_says_so_and_the_others_do_not():
    layout = StepLayout.lay(STOPS, torch.tensor([1e9, 0.0, torch.inf]).double(), 0.125, 100)
    assert layout.status.tolist() == [Status.MAX_STEPS, Status.OK, Status.MAX_STEPS]
    assert layout.ends.shape == (3, 100)
    gap = StepLayout.lay(torch.tensor([[0.0, 1e12]]).double(), torch.zeros(1).double(), 0.125, 100)
    assert gap.status.tolist() == [Status.MAX_STEPS]
    assert gap.ends.isfinite().all()


def test_a_row_without_anywhere_to_go_takes_no_step():
    assert StepLayout.lay(STOPS[1:2], UNTIL[1:2], 0.125, 100).ends.shape == (1, 0)
    assert StepLayout.lay(STOPS[:0], UNTIL[:0], 0.125, 100).ends.shape == (0, 0)
