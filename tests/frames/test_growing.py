"""Containers that grow by versions hold what a dict and a list would, and leave their earlier versions alone."""

from __future__ import annotations

import math
import random

from tsode.frames.growing import GrowingDict, GrowingList
from tsode.frames.known_ids import KnownIds


def test_every_version_is_the_dict_that_it_was_when_it_was_made():
    draw, plain = random.Random(0), dict.fromkeys(range(50), 0)
    versions = [(GrowingDict(plain), dict(plain))]
    for n in range(1, 300):
        changes = {draw.randrange(400): n for _ in range(draw.choice([0, 1, 1, 1, 20]))}
        plain |= changes
        grown = versions[-1][0].changed(changes)
        assert all(grown[key] == plain[key] for key in plain)
        assert 400 not in grown
        versions.append((grown, dict(plain)))
        if n % 40 == 0:
            assert len(grown) == len(plain)  # which lays all in one dict
    for grown, expected in reversed(versions):
        assert list(grown.items()) == list(expected.items())


def test_a_change_moves_few_items_however_many_there_are():
    n = 2**15
    grown, moved = GrowingDict(dict.fromkeys(range(n), 0)), 0
    for key in range(1000):
        before = {id(layer) for layer in grown._layers}
        grown = grown.changed({(7 * key) % n: key})
        moved += sum(len(layer) for layer in grown._layers if id(layer) not in before)
        assert len(grown._layers) <= 1 + math.log2(n)
    assert moved <= 1000 * math.log2(1000)


def test_a_list_changes_and_grows_at_its_end():
    first = GrowingList("abc")
    second = first.changed({1: "B"}, ["d", "e"])
    assert [*first] == [*"abc"]
    assert [*second] == [*"aBcde"] == [second[place] for place in range(5)]
    assert second[-1] == "e"
    assert second[1:3] == ["B", "c"]
    assert len(second) == 5


def test_ids_are_found_in_their_own_spelling_and_in_others_as_they_come():
    first = KnownIds(["A 1", 2, "b"])
    assert first.alike("a_1") == ("A 1",)
    second = first.with_more([True, 2.0, "a-1", "B"])
    assert second.plain() == ["A 1", 2, "b", True, "a-1", "B"]
    assert [second.row_of(label) for label in (2, True, 1, "B")] == [1, 3, None, 5]
    assert second.alike("a_1") == ("A 1", "a-1")
    assert second.alike("B") == ("b", "B")
    assert first.alike("a_1") == ("A 1",)
    assert "B" not in first
    assert len(first) == 3
