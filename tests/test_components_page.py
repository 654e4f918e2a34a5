"""Page on structural components: its code runs, and its table has every component."""

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from tsode import LinearSDEForecaster
from tsode.models.structural.component import DataScale
from tsode.models.structural.registry import COMPONENTS
from tsode.training.structural.choice import FEWEST_TURNS
from tsode.training.structural.recipe import Settings

PAGE = (Path(__file__).parents[1] / "examples" / "docs" / "COMPONENTS.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_table_names_every_component_with_its_part_and_its_parameters():
    rows = re.findall(r'^\| `"(\w+)"` \| (.*?) \| .* \| (.*?) \|$', PAGE, flags=re.MULTILINE)
    assert {name for name, *_ in rows} == set(COMPONENTS)
    for name, role, parameters in rows:
        cls: Any = COMPONENTS[name]
        component = cls(period=0.1) if "period" in cls.__dataclass_fields__ else cls()
        assert role == (component.role if component.role in ("trend", "rest") else "by name")
        assert re.findall(r"`(\w+)`", parameters) == list(component.priors(DataScale(0.01, 0.1)))


def test_the_numbers_of_the_automatic_choice_are_those_that_it_takes():
    assert f"span at least {FEWEST_TURNS} times" in PAGE
    assert f"compared on {Settings().most_rows:,} observations" in PAGE
    assert f"learned from {Settings().fine_rows:,}" in PAGE


def test_the_settings_shown_are_taken():
    settings = re.findall(r"^- `(.*?)`", PAGE, flags=re.MULTILINE)
    assert settings == ["period", "n_harmonics", "frozen=True", "name"]
    names: dict[str, Any] = {}
    exec("from tsode import part\n" + SNIPPETS[1], names)
    LinearSDEForecaster(components=names["components"])


@pytest.mark.slow
def test_the_code_of_the_page_runs_from_top_to_bottom(capsys):
    names: dict[str, Any] = {}
    for snippet in SNIPPETS:
        exec(snippet, names)
    plt.close("all")
    assert names["parts"].notna().all(axis=None)
    assert [ax.get_ylabel() for ax in names["axes"]] == ["CO2 (ppm)", "trend", "year", "rest"]
    assert "co2_ppm" in capsys.readouterr().out
    assert names["bands"].notna().all(axis=None)
    assert names["night"].notna().all(axis=None)
