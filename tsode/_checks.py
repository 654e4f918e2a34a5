"""Shape checks in letters: one letter, one axis, the same length wherever it stands."""

from __future__ import annotations

from torch import Tensor

from tsode.errors import ShapeError


def check_shapes(**named: tuple[Tensor, str]) -> dict[str, int]:
    """Check that tensors have the axes their letters say, and that equal letters have equal lengths.

    Parameters
    ----------
    **named : (Tensor, str)
        Argument name -> the tensor and its axes, as in ``times=(times, "b n")``.

    Returns
    -------
    dict
        The length of every letter.

    Raises
    ------
    ShapeError
        If a tensor has another number of axes, or a letter two lengths.
    """
    length: dict[str, int] = {}
    owner: dict[str, str] = {}
    for name, (tensor, letters) in named.items():
        axes = letters.split()
        if tensor.dim() != len(axes):
            raise ShapeError(
                f"`{name}` must have {len(axes)} axes ({letters}), but has shape {tuple(tensor.shape)}: "
                "add or drop an axis so that each letter has one."
            )
        for axis, size in zip(axes, tensor.shape):
            if length.setdefault(axis, size) != size:
                raise ShapeError(
                    f"`{name}` has {size} on axis '{axis}' of ({letters}), but `{owner[axis]}` has {length[axis]}: "
                    "they must agree."
                )
            owner.setdefault(axis, name)
    return length
