"""How alike two figures are: by what nbval compares them, and `python tests/likeness.py A B` two folders of notebooks."""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

LEAST = 0.8  # what a figure is asked, whose cell has no tag such as likeness-0.5
SHRUNK = 4  # a line that moves by a pixel, as letters do between machines, is the same line


def likeness(one: bytes, other: bytes) -> float:
    """Structural similarity of two PNGs, in [-1, 1], where either one shows something; 0 where their shapes disagree.

    White paper, most of many figures, would hide what has changed on it. Wang et al. 2004.
    """
    one, other = (Image.open(io.BytesIO(png)).convert("RGB") for png in (one, other))
    if max(abs(np.divide(one.size, other.size) - 1)) > 0.05:
        return 0.0
    size = [side // SHRUNK for side in one.size]
    one, other = (np.asarray(each.resize(size, Image.Resampling.BOX), np.float32) / 255 for each in (one, other))
    _, similar = structural_similarity(one, other, data_range=1, channel_axis=2, full=True)
    shown = (one < 0.97).any(axis=2) | (other < 0.97).any(axis=2)
    return float(similar.mean(axis=2)[shown].mean()) if shown.any() else 1.0


def least(cell) -> float:
    """How alike to the stored ones the figures of this cell must be."""
    return next((float(tag.removeprefix("likeness-")) for tag in cell["metadata"].get("tags", []) if "likeness-" in tag), LEAST)


def pngs(outputs) -> list[str]:
    """The PNGs among the outputs of a cell, in base64."""
    return [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def figures(notebook: Path) -> dict[tuple[int, int], bytes]:
    """The PNGs that a stored notebook shows, by the number of their code cell and their place in it."""
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    shown = {}
    for number, cell in enumerate(cells):
        shown |= {(number, place): base64.b64decode(png) for place, png in enumerate(pngs(cell["outputs"]))}
    return shown


if __name__ == "__main__":
    first, second = map(Path, sys.argv[1:])
    for notebook in sorted(first.glob("*.ipynb")):
        there = figures(second / notebook.name)
        for place, png in figures(notebook).items():
            print(f"{notebook.stem:24s} cell {place[0]:2d}.{place[1]}   {likeness(png, there[place]):.3f}")
