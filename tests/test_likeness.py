"""What nbval compares: each figure of the series by structural similarity, texts to the letter."""

import io
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from likeness import figures, least, likeness
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TRUE = {
    "import matplotlib.pyplot as plt, numpy as np\nx = np.linspace(0, 3, 30);": None,
    "plt.plot(x, x**3);": "plt.plot(x**3, x);",
    "plt.imshow(np.outer(x, x), 'magma');": "plt.imshow(np.outer(x, x), 'magma_r');",
    "print(f'{0.52:.2f}')": "print(f'{0.572:.2f}')",
}


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_paper_does_not_count():
    paper = np.full((200, 300, 3), 255, np.uint8)
    assert likeness(png(paper), png(paper)) == 1
    one, other = paper.copy(), paper.copy()
    one[40:60, 40:260], other[140:160, 40:260] = 0, 0  # a line of a twentieth of the paper, elsewhere
    assert likeness(png(one), png(one)) > 0.999 and likeness(png(one), png(other)) < 0.3
    assert likeness(png(one), png(one[:, :250])) == 0, "another shape"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_another_figure_is_not_like_it(path):
    """With swapped axes, each figure of the series is less alike than its cell asks."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for (number, _), stored in figures(path).items():
        picture = Image.open(io.BytesIO(stored)).convert("RGB")
        swapped = np.asarray(picture.transpose(Image.Transpose.TRANSPOSE).resize(picture.size))
        assert likeness(stored, png(swapped)) < least(code[number]), number
        assert likeness(stored, stored) > 0.999


def test_planted_faults_are_caught(tmp_path):
    """Swapped axes, an inverted colour map and a number changed by a tenth, each in its cell; the true cells pass."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in TRUE])
    notebook.cells[2].metadata["tags"] = ["nbval-ignore-output"]  # of texts
    ExecutePreprocessor(kernel_name="python3").preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    path = tmp_path / "true.ipynb"
    nbformat.write(notebook, path)
    for cell, planted in zip(notebook.cells, TRUE.values(), strict=True):
        cell.source = planted or cell.source
    nbformat.write(notebook, tmp_path / "false.ipynb")
    pytest_ = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA", "--nbval"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "TMPDIR": str(tmp_path)}
    said = subprocess.run(
        [*pytest_, "--nbval-current-env", str(tmp_path)], capture_output=True, text=True, env=environment, cwd=tmp_path
    ).stdout
    found = [line.split(" ", 1)[0] for line in said.splitlines() if line.startswith(("PASSED", "FAILED")) and "::" in line]
    assert "3 failed, 5 passed" in said and found.count("FAILED") == 3, said
    assert all(f"FAILED false.ipynb::Cell {number}" in said for number in (1, 2, 3)), said
