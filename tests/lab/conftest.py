"""A series of two small notebooks."""

import pytest
from small_notebooks import notebook


@pytest.fixture
def folder(tmp_path):
    """Notebooks 01_one and 02_two, and a quick profile."""
    folder = tmp_path / "notebooks"
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles/quick.yaml").write_text("all: {name: y}\n01_one: {epochs: 3}\n")
    notebook(folder, "01_one", "print(epochs, rate, name, flip, filters)")
    notebook(folder, "02_two", "print('two', epochs)")
    return folder
