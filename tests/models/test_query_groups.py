import torch

from tsode.models.query_groups import HistoryRanges
from tsode.testing import example_batch


def test_each_distinct_range_is_cut_once_and_deals_its_answers_back():
    batch, _ = example_batch(2)
    batch = batch.compact()
    b, m = batch.n_series, 4
    generator = torch.Generator().manual_seed(0)
    until = (torch.rand(b, m, generator=generator) * (batch.lengths[:, None] + 1)).long()
    first = (until - 2).clamp(min=0)
    ranges = HistoryRanges.of(batch, first, until)
    asked = {(row, int(f), int(u)) for row in range(b) for f, u in zip(first[row], until[row])}
    assert ranges.histories.n_series == len(ranges.row) == len(asked)

    queries = torch.arange(b * m, dtype=torch.float64).view(b, m)
    times = ranges.gather(queries, torch.full((len(asked),), -1.0, dtype=torch.float64))
    assert torch.equal(times[ranges.group, ranges.position], queries)
    assert (times >= 0).sum() == b * m  # every other place holds what fills it up
    for row in range(b):
        for k in range(m):
            piece, (start, end) = ranges.group[row, k], (int(first[row, k]), int(until[row, k]))
            assert ranges.row[piece] == row
            assert ranges.histories.lengths[piece] == end - start
            assert torch.equal(ranges.histories.values[piece, : end - start], batch.values[row, start:end])
            assert torch.equal(ranges.histories.times[piece, : end - start], batch.times[row, start:end])


def test_the_worst_status_of_the_ranges_of_a_row_is_its_own():
    batch, _ = example_batch(2)
    until = torch.tensor([[0, 1]]).expand(batch.n_series, -1).minimum(batch.compact().lengths[:, None])
    ranges = HistoryRanges.of(batch.compact(), torch.zeros_like(until), until)
    status = torch.zeros_like(ranges.row)
    status[ranges.group[2, 0]] = 2
    assert ranges.worst(status).tolist() == [2 if row == 2 else 0 for row in range(batch.n_series)]
