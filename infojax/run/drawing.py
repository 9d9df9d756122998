"""What all pictures and pages have in common: colours, axes, files, and the frame of a page."""

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Told apart with any colour vision: Paul Tol's muted set, ordered so that neighbours differ most, and two of Okabe-Ito.
COLOURS = ("#332288", "#DD6677", "#117733", "#E0B94A", "#66BBEE", "#882255", "#44AA99", "#999933", "#AA4499")
DPI = 130
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; margin: 0.8rem 0; }
caption { text-align: left; color: #555; padding-bottom: 0.4rem; }
th, td { padding: 0.25rem 0.8rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td .interval { color: #666; font-size: 0.85em; display: block; }
tr.place th { background: #f3f3f3; } .unfinished { color: #a33; } .wide { overflow-x: auto; }
img { max-width: 100%; height: auto; } figure { display: inline-block; margin: 0.4rem 0; } code { font-size: 0.9em; }
"""


def tidy(axes: Axes, size: int) -> None:
    """Quiet axes with text of that size."""
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=size - 1, color="#888888")
    axes.xaxis.label.set_fontsize(size)
    axes.yaxis.label.set_fontsize(size)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")


def save(figure: Figure, path: Path) -> Path:
    """Write a picture, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, facecolor="white")
    return path


def image(path: Path, words: str) -> str:
    """A picture within the page; `words` for those who cannot see it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{html.escape(words, quote=True)}" src="data:image/png;base64,{data}"></figure>'


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table within the page."""

    def tags(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

    lines = [f"<tr>{tags(heads, 'th')}</tr>", *(f"<tr>{tags(cells, 'td')}</tr>" for cells in rows)]
    return f'<div class="wide"><table><caption>{html.escape(caption)}</caption>{"".join(lines)}</table></div>'


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return "\n".join([line(heads), line(["---"] * len(heads)), *(line(cells) for cells in rows)]) + "\n"


def page(heading: str, parts: Sequence[str]) -> str:
    """A self-contained page of these parts."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(heading)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds either the old or the new, never a part."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
