"""Scratch memory that outlives a training step."""

from __future__ import annotations

import torch

from tsode.kernels.workspace import borrow, give_back


def test_the_largest_idle_workspace_is_kept_and_lent_first():
    like = torch.zeros((), dtype=torch.complex64)  # a dtype of its own: no other test's workspaces
    spaces = [borrow(like) for _ in range(8)]
    for space, size in zip(spaces, (1, 2, 9, 3, 4, 5, 6, 7)):
        space.new(size)
    for space in spaces:
        give_back(space)
    assert [borrow(like).size for _ in range(5)] == [9, 7, 6, 5, 0]


def test_a_workspace_hands_out_the_same_memory_again():
    like = torch.zeros((), dtype=torch.complex128)
    space = borrow(like)
    first = space.new(2, 3).data_ptr()
    give_back(space)
    again = borrow(like)
    assert again is space
    assert again.new(3, 2).data_ptr() == first
