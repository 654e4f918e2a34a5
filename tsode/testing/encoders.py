"""Contract of encoders."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.encoders.base import Encoded, Encoder
from tsode.testing.assertions import assert_close
from tsode.testing.examples import example_batch

__all__ = ["check_encoder"]


def check_encoder(encoder: Encoder) -> None:
    """Check rows, padding, unseen values, the origin of time, dtypes, gradients, and what a context state may know.

    Parameters
    ----------
    encoder : Encoder
        Untrained is fine; it is copied, never changed.

    Raises
    ------
    AssertionError
        That names the promise which does not hold.
    """
    for dtype in (torch.float64, torch.float32):
        module = copy.deepcopy(encoder).to(dtype)
        batch = example_batch(encoder.n_channels, dtype)[0].compact()
        with torch.no_grad():
            _check_rows(module, batch)
            _check_context(module, batch)
            if encoder.reads_a_set:
                _check_order(module, batch)
    _check_gradient(copy.deepcopy(encoder).double())


def _check_rows(encoder: Encoder, batch: IrregularBatch) -> None:
    together, lengths = _encode(encoder, batch), batch.lengths
    shape = (batch.n_series, batch.n_events, encoder.n_hidden)
    assert together.summary.shape == shape[::2], f"a summary is (b h), not {tuple(together.summary.shape)}."
    assert together.context.shape == shape, f"a context is (b n h), not {tuple(together.context.shape)}."
    assert together.summary.dtype == batch.values.dtype, "an encoder keeps the dtype of the values."
    assert not bool(together.status.any()), f"an encoder reaches its start: status {together.status.tolist()}."
    for row in range(batch.n_series):
        n = int(lengths[row])
        times, values, mask = (t[row : row + 1, :n] for t in (batch.times, batch.values, batch.mask))
        one = IrregularBatch(times, values, mask, lengths[[row]])
        _same(_encode(encoder, one), together, [0], [row], n, "a row is encoded as if it were alone")
    order = torch.tensor([4, 2, 0, 3, 1])
    permuted = _encode(encoder, batch.select(order))
    assert_close(permuted.summary, together.summary[order], "the order of rows is free")
    wide = IrregularBatch(
        torch.cat([batch.times, batch.times[:, -1:].expand(-1, 3)], dim=1),
        torch.nn.functional.pad(batch.values, (0, 0, 0, 3)),
        torch.nn.functional.pad(batch.mask, (0, 0, 0, 3)),
        lengths,
    )
    assert_close(_encode(encoder, wide).summary, together.summary, "padding changes nothing")
    filled = copy.copy(batch)
    object.__setattr__(filled, "values", torch.where(batch.mask, batch.values, 1e6))
    assert torch.equal(_encode(encoder, filled).summary, together.summary), "values that were not seen are not read."
    evolution = getattr(encoder, "evolution", None)
    if getattr(getattr(evolution, "dynamics", None), "is_autonomous", True):
        later = _encode(encoder, batch.replace(times=batch.times + 4096.0))
        assert_close(later.summary, together.summary, "the origin of time changes nothing")
    changed = batch.replace(values=batch.values + 1.0)
    some = lengths > 0
    change = (_encode(encoder, changed).summary - together.summary)[some].abs().amax(dim=1)
    assert bool((change > 1e-6).all()), "a summary depends on the values."


def _check_context(encoder: Encoder, batch: IrregularBatch) -> None:
    """A context state knows its own event and later ones, and no earlier one."""
    together = _encode(encoder, batch)
    row, n = 0, int(batch.lengths[0])
    for k in range(n):
        after = torch.arange(batch.n_events) >= k
        changed = batch.replace(values=torch.where(after[:, None], batch.values, batch.values + 5.0))
        context = _encode(encoder, changed).context
        assert_close(context[row, k:n], together.context[row, k:n], "a context state knows no earlier event")
        if k:
            moved = (context[row, k - 1] - together.context[row, k - 1]).abs().max()
            assert float(moved) > 1e-6, "a context state depends on its own event."


def _check_order(encoder: Encoder, batch: IrregularBatch) -> None:
    """Events at one time may stand in any order, together or apart."""
    together = _encode(encoder, batch).summary
    n, c = batch.n_events, batch.n_channels
    for channels in (torch.arange(c), torch.arange(c).flip(0)):
        one = torch.eye(c, dtype=torch.bool)[channels]
        mask = (batch.mask[:, :, None] & one).flatten(1, 2)
        values = batch.values[:, :, None].expand(-1, -1, c, -1).flatten(1, 2)
        times = batch.times[:, :, None].expand(-1, n, c).flatten(1, 2)
        apart = IrregularBatch(times, values, mask, batch.lengths * c).compact()
        assert_close(_encode(encoder, apart).summary, together, "triples may stand in any order")


def _check_gradient(encoder: Encoder) -> None:
    batch = example_batch(encoder.n_channels)[0].select(torch.tensor([1, 2, 3])).compact()
    batch = IrregularBatch(batch.times[:, :5], batch.values[:, :5], batch.mask[:, :5], batch.lengths)
    values = batch.values.clone().requires_grad_()

    def run(x: Tensor) -> Tensor:
        encoded = _encode(encoder, batch.replace(values=x))
        return torch.cat([encoded.summary, encoded.context.flatten(1)[:, : encoder.n_hidden]], dim=1)

    assert torch.autograd.gradcheck(run, (values,), raise_exception=True)


def _encode(encoder: Encoder, batch: IrregularBatch) -> Encoded:
    return encoder(batch, batch.times[:, 0] if batch.n_events else batch.times.new_zeros(batch.n_series))


def _same(actual: Encoded, expected: Encoded, row: list[int], of: list[int], n: int, promise: str) -> None:
    assert_close(actual.summary[row], expected.summary[of], promise)
    assert_close(actual.context[row, :n], expected.context[of, :n], promise)
