import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.registries import fitted
from tsode.estimators import FORECASTERS

pytestmark = pytest.mark.usefixtures("short_epochs")

README = (Path(__file__).parents[1] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


RESULTS = {"auto": "ahead", "series": "bands", "wide": "filled", "long": "ahead", "static": "ahead", "ahead": "ahead",
           "components": "parts", "doses": "answer", "known": "states", "bounces": "met", "random": "ahead",
           "equations": "ahead", "chance": "ahead",
           "structure": "table", "stability": "exponents", "decision": "kept", "pipeline": "ahead", "time": "search",
           "people": "search", "routing": "scores", "list": "scores", "path": "level"}  # fmt: skip
# the dearest, of whose calls others are examples too
SLOW = {
    "auto",
    "doses",
    "series",
    "wide",
    "long",
    "static",
    "equations",
    "chance",
    "structure",
    "stability",
    "decision",
    "pipeline",
    "time",
    "people",
    "list",
}


def test_there_is_a_snippet_of_five_lines_for_each_kind_of_data():
    assert len(SNIPPETS) == len(RESULTS)
    assert [sum(bool(line) for line in snippet.splitlines()) for snippet in SNIPPETS[:4]] == [5, 5, 5, 5]
    for snippet in SNIPPETS[-6:]:  # of scikit-learn, whose imports are many
        assert sum(bool(line) and not re.match("from|import", line) for line in snippet.splitlines()) <= 5


@pytest.mark.parametrize(
    ("snippet", "result"),
    [
        pytest.param(snippet, RESULTS[name], id=name, marks=[pytest.mark.slow] * (name in SLOW))
        for name, snippet in zip(RESULTS, SNIPPETS)
    ],
)
def test_snippets_run_as_written_and_give_finite_answers(snippet, result):
    names: dict[str, Any] = {}
    exec(snippet, names)
    found = names[result]
    if hasattr(found, "cv_results_"):
        found = found.cv_results_["mean_test_score"]
    numbers = pd.DataFrame(found).select_dtypes("number")
    assert len(numbers)
    assert numbers.notna().all(axis=None)


def test_the_first_line_says_what_is_native():
    assert "irregular times and missing values are the native case" in README.splitlines()[0]


def test_the_two_commands_come_before_anything_else():
    assert re.findall(r"^make \w+", README.split("##")[0], flags=re.MULTILINE) == ["make demo", "make test"]


def test_the_table_of_what_is_supported_says_what_the_classes_do():
    rows = re.findall(r"^\| (`.*?`) \| (yes|no) \| (yes.*?|no) \| (yes|no) \| (.*?) \|$", README, flags=re.MULTILINE)
    said = {name: row[1:] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(said) == set(FORECASTERS)
    for name, (events, covariates, past, update) in said.items():
        made = fitted(f"{name}-float64")
        assert (events == "yes") == made.reads_events
        assert covariates.startswith("yes") == made.reads_covariates
        assert (past == "yes") == ("past_covariates" in made.get_params())
        assert update.startswith("yes") == made.module_.can_resume
