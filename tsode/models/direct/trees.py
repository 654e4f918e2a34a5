"""Boosted trees as arrays: a sum of trees for each of several outputs, evaluated many rows at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["QuantileTrees"]

MOST_DEEP = 64
VALUES_AT_ONCE = 2**21  # places in trees that are held together: bounds memory, changes no number


class QuantileTrees(nn.Module):
    """Sums of binary trees, as many for each output.

    A row goes left at a node where its feature is at most the threshold, or is NaN and the node sends those left. A
    leaf is its own child on either side.

    Parameters
    ----------
    n_outputs, n_features : int

    Attributes
    ----------
    feature, left, right : Tensor[t n], int64
        Of each node of each tree; the root comes first, trees of one output after those of another.
    threshold, value : Tensor[t n]
    missing_left : Tensor[t n], bool
    start : Tensor[o]
        What the sum of each output begins with.
    depth : Tensor[], int64
        Longest way from a root to a leaf.
    """

    feature: Tensor
    left: Tensor
    right: Tensor
    threshold: Tensor
    value: Tensor
    missing_left: Tensor
    start: Tensor
    depth: Tensor

    def __init__(self, n_outputs: int, n_features: int) -> None:
        super().__init__()
        self.n_outputs, self.n_features = n_outputs, n_features
        self.register_buffer("start", torch.zeros(n_outputs))
        self.register_buffer("depth", torch.zeros((), dtype=torch.int64))
        self._make_room(0, 1)

    def _make_room(self, n_trees: int, n_nodes: int) -> None:
        like = self.start.new_zeros(n_trees, n_nodes)
        for name in ("feature", "left", "right"):
            self.register_buffer(name, like.long())
        self.register_buffer("missing_left", like.bool())
        for name in ("threshold", "value"):
            self.register_buffer(name, like.clone())

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the trees of a file.

        Raises
        ------
        ValueError
            If its nodes are not those of trees: then they could not be followed.
        """
        n_trees, n_nodes = state["feature"].shape
        self._make_room(n_trees, n_nodes)
        children = torch.stack([state["left"], state["right"]])
        feature, depth = state["feature"], state["depth"]
        are_whole = not any(x.is_floating_point() for x in (children, feature, depth))
        if not are_whole or n_trees % self.n_outputs or n_nodes < 1:
            raise ValueError(f"its trees are {n_trees} of {n_nodes} nodes for {self.n_outputs} outputs")
        ends = ((children, n_nodes), (feature, self.n_features), (depth, MOST_DEEP + 1))
        if any(x.numel() and (int(x.min()) < 0 or int(x.max()) >= end) for x, end in ends):
            raise ValueError("nodes of its trees point out of them")

    @torch.no_grad()
    def take(self, fitted: Mapping[str, Tensor]) -> None:
        """Take over fitted trees: the tensors that stand under Attributes, by name."""
        self._make_room(*fitted["feature"].shape)
        for name, x in fitted.items():
            getattr(self, name).copy_(x)

    def forward(self, x: Tensor) -> Tensor:
        """Sums at features (r f), float64: Tensor[r o]."""
        n_trees = len(self.feature)
        size = max(1, VALUES_AT_ONCE // max(n_trees, 1))
        return torch.cat([self._sums(rows) for rows in x.split(size)]) if len(x) else x.new_zeros(0, self.n_outputs)

    def _sums(self, x: Tensor) -> Tensor:
        n_trees, n_nodes = self.feature.shape
        total = self.start.double().expand(len(x), -1)
        if not n_trees:
            return total
        root = n_nodes * torch.arange(n_trees, device=x.device)
        feature, threshold, missing = (part.flatten() for part in (self.feature, self.threshold, self.missing_left))
        left, right = ((part + root[:, None]).flatten() for part in (self.left, self.right))
        threshold = threshold.double()
        place = root.expand(len(x), -1)
        for _ in range(int(self.depth)):
            own = x.gather(1, feature[place])
            goes_left = (own <= threshold[place]) | (own.isnan() & missing[place])
            place = torch.where(goes_left, left[place], right[place])
        leaves = self.value.flatten().double()[place].view(len(x), self.n_outputs, -1)
        return total + leaves.sum(dim=-1)
