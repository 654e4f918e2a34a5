"""The training loop on problems whose answer is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tsode.errors import SolverError, TsodeWarning
from tsode.training.interruption import kept_if_interrupted
from tsode.training.loop import Rate, TrainingPlan, train


@dataclass(frozen=True)
class Rows:
    """A batch of rows, some of which may fail."""

    x: torch.Tensor
    status: torch.Tensor

    def select(self, rows):
        return Rows(self.x[rows], self.status[rows])


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.zeros(()))


def squared(model, batch):
    loss = (batch.x - model.at).square().mean()
    return loss, {"forecast": loss}, batch.status


def rows(x, failed=()):
    status = torch.zeros(len(x), dtype=torch.int64)
    status[list(failed)] = 3
    return Rows(torch.tensor(x), status)


def run(model, batches, validate=None, **plan):
    def own(model):
        return {"loss": float((model.at - 3.0).square().detach())}

    settings = {"max_epochs": 5, "weight_decay": 0.0, "learning_rate": 0.2} | plan
    callbacks = settings.pop("callbacks", ())
    return train(
        model, lambda: batches, len(batches), squared, validate or own, TrainingPlan(**settings), callbacks=callbacks
    )


def test_a_mean_is_found():
    model = Mean()
    history = run(model, [rows([2.0, 4.0])] * 20, max_epochs=20)
    assert model.at.item() == pytest.approx(3.0, abs=0.02)
    assert [row["epoch"] for row in history] == list(range(1, 21))
    assert history[-1]["train_loss"] == pytest.approx(1.0, abs=0.01)
    assert all(row["n_skipped"] == 0.0 for row in history)


def test_the_weights_of_the_best_epoch_are_kept():
    model, seen = Mean(), []
    scores = iter([4.0, 3.0, 1.0, 2.0, 5.0])  # before training, and after each epoch

    def validate(module):
        seen.append(module.at.item())
        return {"loss": next(scores)}

    run(model, [rows([2.0, 4.0])] * 3, validate, max_epochs=4)
    assert model.at.item() == seen[2]
    assert not model.training


def test_the_rate_goes_down_after_the_patience_and_training_then_ends():
    def rates(scores, **plan):
        scores = iter([100.0, *scores])
        history = run(Mean(), [rows([1.0])] * 10, lambda _: {"loss": next(scores)}, max_epochs=30, cooling=0.1, **plan)
        return [row["learning_rate"] for row in history]

    # best in the second epoch, two without a better one, three to cool, whatever comes in them
    found = rates([3.0, 1.0, 2.0, 2.0, 0.5, 0.4, 0.3], patience=2)
    assert len(found) == 7
    assert found[2] == found[3] == 0.2 > found[4] > found[5] > found[6] == pytest.approx(0.0002)
    # validation that never stalls, and no patience: the last three of all epochs cool
    for found in (rates(range(30, 0, -1), patience=2), rates([1.0] * 30, patience=None)):
        assert len(found) == 30
        assert set(found[3:27]) == {0.2}
        assert 0.2 > found[27] > found[29]


def test_the_rate_warms_up_in_a_tenth_of_all_steps():
    rate = Rate(TrainingPlan(max_epochs=10, learning_rate=1.0), n_batches=20)
    assert [rate(0), rate(9), rate(19), rate(150)] == [0.05, 0.5, 1.0, 1.0]


def test_rows_whose_solve_failed_are_left_out_and_counted():
    model = Mean()
    history = run(model, [rows([2.0, math.nan, 4.0], failed=[1])] * 20, max_epochs=20)
    assert model.at.item() == pytest.approx(3.0, abs=0.02)
    assert history[0]["n_skipped"] == 20.0
    assert history[0]["train_loss"] < 10.0


def test_a_batch_of_failures_or_a_gradient_that_is_not_finite_moves_no_weight():
    for lost in (rows([1.0, 1.0], failed=[0, 1]), rows([math.inf])):
        model, after = Mean(), []

        def batches(lost=lost, model=model, after=after):
            yield rows([3.0, 3.0, 3.0])
            after.append(model.at.item())
            yield lost
            after.append(model.at.item())

        history = train(
            model,
            batches,
            2,
            squared,
            lambda m: {"loss": float((m.at - 3.0).detach().abs())},
            TrainingPlan(max_epochs=1),
        )
        assert after[0] == after[1] != 0.0
        assert history[0]["n_skipped"] == len(lost.x)
        assert math.isfinite(history[0]["train_loss"])


def test_training_that_loses_all_rows_is_an_error_and_most_of_them_a_warning():
    for lost in (rows([1.0, 1.0], failed=[0, 1]), rows([math.inf])):
        with pytest.raises(
            SolverError, match=r"all rows failed in all of 2 epochs\. Lower learning_rate, which is 0.2"
        ):
            run(Mean(), [lost], max_epochs=2)
    with pytest.warns(TsodeWarning, match="Of 40 rows in training 30 failed and were left out"):
        run(Mean(), [rows([2.0, 3.0, 4.0, 3.0], failed=[0, 1, 2])] * 2, max_epochs=5)
    with pytest.warns(TsodeWarning, match="Of 30 rows in training 20 failed"):  # once each, whatever they failed of
        run(Mean(), [rows([3.0]), rows([1.0, math.inf], failed=[0])], max_epochs=10)


@pytest.mark.parametrize(("n_epochs", "enough", "too_much"), [(2, 11.0, 12.0), (5, 1.1, 1.2)])
def test_training_that_ends_worse_than_it_began_is_a_warning(n_epochs, enough, too_much):
    def end_with(loss):
        scores = iter([1.0, *[loss] * n_epochs])
        run(Mean(), [rows([3.0])], lambda _: {"loss": next(scores)}, max_epochs=n_epochs)

    end_with(enough)
    with pytest.warns(
        TsodeWarning, match=f"No epoch is as good .* loss is {too_much:g}, and was 1. Lower learning_rate"
    ):
        end_with(too_much)


def test_a_score_that_is_never_finite_is_an_error():
    with pytest.raises(SolverError, match=r"never reached a finite validation score.*Lower learning_rate"):
        run(Mean(), [rows([1.0])], lambda _: {"loss": math.nan})


def test_gradients_are_clipped():
    model = Mean()
    history = run(model, [rows([1e6])], max_epochs=1, clip=1.0)
    assert history[0]["gradient_norm"] == pytest.approx(2e6)
    assert abs(model.at.item()) < 1.0


def test_an_interrupt_keeps_the_best_epoch_and_warns():
    model, seen = Mean(), []

    def validate(module):
        seen.append(module.at.item())
        return {"loss": [3.0, 2.0, 1.0, 3.0][len(seen) - 1]}

    def interrupt(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.warns(TsodeWarning, match=r"interrupted after 3 of 9 epochs; the best weights so far \(epoch 2\)"):
        history = run(model, [rows([2.0])] * 3, validate, max_epochs=9, callbacks=[interrupt])
    assert len(history) == 3
    assert model.at.item() == seen[2]


def test_an_interrupt_while_an_epoch_is_judged_keeps_the_averaged_weights():
    model, seen = Mean(), []

    def validate(module):
        seen.append(module.at.item())
        if len(seen) == 2:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    with pytest.warns(TsodeWarning, match="the weights of the unfinished first epoch are kept"):
        run(model, [rows([3.0])] * 3, validate)
    assert model.at.item() == seen[1]


def test_an_interrupt_after_training_leaves_the_trained_weights():
    model = Mean()

    def calibrate():
        with kept_if_interrupted(model, "intervals were calibrated"):
            model.at.data.fill_(7.0)
            raise KeyboardInterrupt

    with pytest.warns(TsodeWarning, match="fit was interrupted while intervals were calibrated"):
        calibrate()
    assert model.at.item() == 0.0


def test_an_interrupt_inside_the_first_epoch_keeps_what_it_has_learned():
    model = Mean()

    def batches():
        yield rows([3.0])
        if model.at.item() != 0.0:
            raise KeyboardInterrupt

    with pytest.warns(TsodeWarning, match="after 0 of 4 epochs; the weights of the unfinished first epoch are kept"):
        train(model, batches, 1, squared, lambda m: {"loss": 1.0}, TrainingPlan(max_epochs=4))
    assert model.at.item() != 0.0
    assert not model.training


def test_every_callback_is_called_and_any_may_stop():
    calls = []
    history = run(
        Mean(), [rows([1.0])], callbacks=[lambda row: calls.append("one") or True, lambda row: calls.append("two")]
    )
    assert calls == ["one", "two"]
    assert len(history) == 1


def test_training_that_may_take_no_longer_cools_in_what_is_left_of_its_time():
    clock = {"now": 0.0}

    def validate(model):
        clock["now"] += 10.0  # an epoch takes ten seconds
        return {"loss": float((model.at - 3.0).square().detach())}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tsode.training.loop.time.perf_counter", lambda: clock["now"])
        history = run(
            Mean(), [rows([2.0, 4.0])] * 4, validate=validate, max_epochs=100, patience=None, max_seconds=75.0
        )
    rates = [row["learning_rate"] for row in history]
    assert len(history) in (7, 8)  # there is time for seven and a half
    assert rates[-1] < 0.05 * max(rates)


def test_time_that_is_not_limited_changes_nothing():
    free, limited = Mean(), Mean()
    run(free, [rows([2.0, 4.0])] * 4, max_epochs=6)
    run(limited, [rows([2.0, 4.0])] * 4, max_epochs=6, max_seconds=1e9)
    assert torch.equal(free.at, limited.at)
