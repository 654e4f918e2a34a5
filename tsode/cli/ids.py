"""Ids of tables that came from different files: one label for each text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pandas as pd

__all__ = ["match_ids"]


def match_ids(frame: pd.DataFrame, id_col: str, known: Iterable[Hashable]) -> pd.DataFrame:
    """The frame with its ids as the labels in `known` that are written alike; others stay as they are.

    CSV holds text where parquet and models made in Python may hold numbers: "7" in one is 7 in the other, and never
    "07". Where all known labels are whole numbers, so are new ones that are written as such.
    """
    if id_col not in frame.columns:
        return frame
    labels = set(known)
    by_text = {str(label): label for label in labels}
    are_numbers = bool(labels) and all(isinstance(label, int) and not isinstance(label, bool) for label in labels)

    def match(label: Hashable) -> Hashable:
        if label in labels and type(label) is type(by_text[str(label)]):
            return label
        text = str(label)
        if text in by_text:
            return by_text[text]
        is_number = are_numbers and text.removeprefix("-").isdecimal() and len(text) < 19 and str(int(text)) == text
        return int(text) if is_number else label

    own = frame[id_col]
    matched = {label: match(label) for label in own.dropna().unique().tolist()}
    return frame.assign(**{id_col: own.astype(object).map(matched).infer_objects()})
