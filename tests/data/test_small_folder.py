"""A folder of thirty photographs of several sizes: every notebook's data cell loads it."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconvlib import data

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, count in (("bird", 12), ("cat", 10), ("dog", 8)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.integers(256, size=(*rng.integers(20, 60, 2), 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


def data_cells():
    """(its parameters, the statements that make its data set) of each notebook that loads one."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        parameters = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
        body = next(("".join(cell["source"]) for cell in cells if "= data.load(dataset_name" in "".join(cell["source"])), None)
        if body:
            made = [line for line in ast.parse(body).body if ast.unparse(line).startswith(("dataset = ", "everything = "))]
            yield pytest.param("".join(parameters["source"]), ast.Module(made, []), id=path.stem)


@pytest.mark.parametrize(("parameters", "body"), list(data_cells()))
def test_a_notebook_loads_it(photographs, capsys, parameters, body):
    values = {"data": data}
    exec(parameters, values)
    values |= {"dataset_name": str(photographs)}
    with pytest.raises(ValueError, match=r"differ in size.*the notebook's parameter image_size"):
        exec(compile(body, "cell", "exec"), dict(values))
    for image_size in (16, [16, 12]):
        values["image_size"] = image_size
        exec(compile(body, "cell", "exec"), values)
        assert values["dataset"].num_classes == 3 and len(values["dataset"].x_train) == 24
        assert values["dataset"].image_shape[:2] == ((16, 16) if image_size == 16 else (16, 12))
    said = capsys.readouterr().out
    assert ("train_images" in values) == ("training images asked, all 24 taken" in said)
    assert ("test_images" in values) == ("test images asked, all 6 taken" in said)


def test_fewer_labels_than_asked_are_all_of_them(photographs, capsys):
    dataset = data.load(photographs, image_size=8)
    capsys.readouterr()
    few = dataset.take_per_class(8)
    said = "8 training images a class asked; fewer in 1 of 3 classes, down to 6 of 'dog': all of theirs are taken"
    assert np.bincount(few.y_train).tolist() == [8, 8, 6] and capsys.readouterr().out == f"{dataset.name}: {said}\n"
    assert len(dataset.take_per_class(6).y_train) == 18 and capsys.readouterr().out == ""
