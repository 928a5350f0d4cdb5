"""Notebooks that take no time, written where a test wants them."""

import nbformat

PARAMETERS = 'epochs = 1  # passes\nrate = 0.5\nname = "x"\nflip = False\nfilters = [8]\nchoice = None\nrun_dir = "."'


def notebook(folder, stem, *cells, parameters=PARAMETERS):
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_markdown_cell(f"# Title of {stem}"), nbformat.v4.new_code_cell(parameters)]
    nb.cells[1].metadata["tags"] = ["parameters"]
    nb.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nb, folder / f"{stem}.ipynb")
