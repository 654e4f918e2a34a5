"""HTML page of pictures, tables and text, in one file that needs no other."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsode._files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.scroll { overflow-x: auto; } img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption { color: #555; font-size: .9rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; } tr.strong td { font-weight: 600; }
"""


class Page:
    """A page that is written from top to bottom.

    Parameters
    ----------
    title : str
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def table(self, frame: pd.DataFrame, strong: Any = None) -> None:
        """Add a table without its index; rows whose first entry is `strong` stand out."""
        head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
        rows = []
        for row in frame.itertuples(index=False):
            cells = "".join(f"<td{_class_of(entry)}>{escape(_write(entry))}</td>" for entry in row)
            begin = '<tr class="strong">' if strong is not None and row[0] == strong else "<tr>"
            rows.append(f"{begin}{cells}</tr>")
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        )

    def figure(self, ax: Axes, caption: str = "") -> None:
        """Add the figure that the axes are on, and close it."""
        import matplotlib.pyplot as plt

        figure: Any = ax.figure
        buffer = io.BytesIO()
        # tight: legends may stand outside of the axes
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        plt.close(figure)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        self._parts.append(
            f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def write(self, path: Any) -> None:
        """Write the page to a file, whose folder is made if it is not there."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        body = "\n".join(self._parts)
        page = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
            f"<body><h1>{escape(self.title)}</h1>\n{body}\n</body></html>\n"
        )
        with whole_file(target) as file:
            file.write(page.encode("utf-8", "backslashreplace"))


def _write(entry: Any) -> str:
    if isinstance(entry, float):
        return "" if pd.isna(entry) else f"{entry:.4g}"
    return str(entry)


def _class_of(entry: Any) -> str:
    return ' class="text"' if isinstance(entry, str) else ""
