"""Every notebook keeps the house form, and runs with other parameters than its defaults."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import photographs
import pytest
from parameters import CHROMIUM, OTHERS
from PIL import Image

from deconvlib import networks
from deconvlib.__main__ import main
from deconvlib.lab import pages, parameters, run

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_reads_well(path):
    notebook = nbformat.read(path, as_version=4)
    cells, code = notebook.cells, code_cells(path)
    assert re.match(r"# \w+", cells[0].source)
    for part in ("What you'll do", "What you'll learn", "What you'll need", "deconv"):
        assert part in cells[0].source, part
    assert "](glossary.md)" in cells[0].source.splitlines()[-1]
    for part in ("## On your own", "## In practice", "## Further reading"):
        assert part in cells[-1].source, part
    assert "parameters" in code[0].metadata.tags
    assert all("#" in line for line in code[0].source.splitlines()), "a parameter without its comment"
    assert len(cells) <= 25 and max(len(cell.source.splitlines()) for cell in code[1:]) <= 15
    lines = [line for cell in code for line in cell.source.splitlines()]
    assert max(map(len, lines)) <= 100, "JupyterLab cuts longer lines on a laptop"
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines) <= 130
    assert f'panels.check()\nrecord.save(run_dir, "{path.stem}"' in code[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_of_one_clean_run(path):
    code, text = code_cells(path), path.read_text(encoding="utf-8")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 1_000_000
    assert not re.search(r"(?<![\w+/])0x[0-9a-f]{6,}", text), "an address in memory"  # a picture's letters may look like one
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
            printed = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not re.search(r"/(home|root|tmp|work|Users)/", printed), "a path of a machine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_that_is_not_compared_says_why(path):
    for cell in code_cells(path):
        exempt = [tag for tag in cell.metadata.get("tags", []) if tag.startswith("nbval")]
        assert not exempt or (exempt == ["nbval-ignore-output"] and cell.source.startswith("# not compared: "))


def test_few_cells_are_not_compared():
    tags = [cell.metadata.get("tags", []) for path in NOTEBOOKS for cell in code_cells(path)]
    assert 10 * sum("nbval-ignore-output" in own for own in tags) <= len(tags)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_kill_costs_no_training_and_leaves_no_half_of_a_file(path):
    for cell in code_cells(path):
        # it is among a dictionary's settings, or the training is a panel's, which a click begins anew
        given = "backup_dir" in cell.source or re.search(r"\*\*(settings|schedule|own)\b|callback,", cell.source)
        assert "training.fit" not in cell.source or given, cell.source
        assert not re.search(r"(?<!record)\.(save|to_csv|savefig|write_text|write_bytes)\((?!part\b)", cell.source)


@pytest.mark.skipif(bool(CHROMIUM), reason="tests/browser runs each notebook with these parameters, in JupyterLab")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_other_parameters(path, tmp_path, capfd):
    assert run.run([path.stem], overrides=OTHERS[path.stem], out=tmp_path, folder=FOLDER) == 0, capfd.readouterr().out
    assert (tmp_path / path.stem / "metrics.json").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_other_parameters_are_other_ones(path):
    defaults = parameters.read_defaults(path)
    for name, value in OTHERS[path.stem].items():
        assert value != defaults[name] and (defaults[name] is None or type(value) is type(defaults[name])), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_as_a_page_it_shows_its_figures_and_needs_no_network(path):
    notebook = nbformat.read(path, as_version=4)
    run._tidy(notebook)
    page = pages.notebook(notebook, path.stem, FOLDER)
    shown = [output for cell in code_cells(path) for output in cell.outputs if "image/png" in output.get("data", {})]
    told = [picture for cell in notebook.cells if cell.cell_type == "markdown" for picture in re.findall("<img ", cell.source)]
    assert len(re.findall(r'<img[^>]+src="data:image/png;base64,', page)) == len(shown) + len(told) > 0
    assert not re.search(r"<(script|link)[^>]+(src|href)=.?https?:", page)
    assert not re.search(r'href="[\w-]+\.(ipynb|md)\b', page), "a page links to pages"
    formulas = [formula for cell in notebook.cells if cell.cell_type == "markdown" for formula in typed(cell.source)]
    assert page.count("<math ") == page.count("</math>") == len(formulas), formulas


def test_each_term_of_the_glossary_leads_to_a_notebook_and_a_paper():
    terms = re.split(r"^### ", (FOLDER / "glossary.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for term in terms:
        assert re.search(r"\]\(\d\d_\w+\.ipynb\)", term) and re.search(r"\]\(https://", term), term
    names = [term.partition("\n")[0].lower() for term in terms]
    assert len(names) == len(set(names)) > 40


def typed(markdown):
    """Formulas of a text, as a person finds them: between dollars, outside of code."""
    return re.findall(r"\$[^$]+\$", re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL))


HOSTILE = ("<img src=x onerror=alert(1)>", "$\\frac{$ & <b>")


@pytest.fixture
def hostile(tmp_path):
    """A folder of two classes of images, grey and coloured, of several sizes, whose names are HTML and half a formula."""
    rng = np.random.default_rng(0)
    for name in HOSTILE:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            shape = (30 + number, 26, 3) if number % 2 else (30, 26)
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / "images" / name / f"{number}<i>.png")
    return tmp_path / "images"


SMALL = {"number": "6", "channels": "2", "top": "2", "examined": "1", "compared": "1", "depths": "2"}


def test_the_audit_escapes_what_comes_from_outside(hostile, tmp_path, capfd):
    networks.classifier((24, 20, 3), 2, filters=(4, 8), decoder="transposed").save(tmp_path / "own.keras")
    given = SMALL | {"model_path": str(tmp_path / "own.keras"), "images": str(hostile)}
    assert run.run(["14"], overrides=given, out=tmp_path / "out", folder=FOLDER) == 0, capfd.readouterr().out
    for page in ("14_your_model.html", "index.html"):
        text = (tmp_path / "out" / page).read_text(encoding="utf-8")
        assert "<img src=x" not in text and "<b>" not in text and "<i>.png" not in text
    assert "&lt;img src=x" in (tmp_path / "out" / "14_your_model.html").read_text(encoding="utf-8"), "it shows no class name"


def test_the_audit_takes_a_fresh_mobilenet(hostile, tmp_path, capfd):
    """At 224 × 224, with 1000 classes where the images have two."""
    given = SMALL | {"model_path": "MobileNetV2", "images": str(hostile), "square": "112", "stride": "112"}
    assert run.run(["14"], overrides=given, out=tmp_path, folder=FOLDER) == 0, capfd.readouterr().out
    page = (tmp_path / "14_your_model.html").read_text(encoding="utf-8")
    assert "36 of 36 nonlinearities are covered" in page and "their labels are left aside" in page


def test_the_audit_takes_networks_that_no_rule_covers(hostile, tmp_path, capfd):
    networks.classifier((24, 20, 3), 2, filters=(4, 8), activation="gelu", pooling="average").save(tmp_path / "own.keras")
    given = SMALL | {"model_path": str(tmp_path / "own.keras"), "images": str(hostile)}
    assert run.run(["14"], overrides=given, out=tmp_path / "out", folder=FOLDER) == 0, capfd.readouterr().out
    page = (tmp_path / "out" / "14_your_model.html").read_text(encoding="utf-8")
    assert "methods: integrated gradients, Grad-CAM" in page and "integrated gradients miss a change of score by" in page
    metrics = json.loads((tmp_path / "out" / "14_your_model" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["method"] == "integrated gradients" and 0 <= metrics["completeness gap"] < 0.05
    assert run.run(["14"], overrides=given | {"method": "guided"}, out=tmp_path / "guided", folder=FOLDER) == 1
    assert "method 'guided' needs rectifiers, and layer 'conv1' applies gelu: use one of" in capfd.readouterr().out


OWN = {  # small, so that a minute is enough for all of them
    **{
        "labels_per_class": "2",
        "imbalance": "2",
        "epochs": "1",
        "tutorial_epochs": "1",
        "filters": "[4, 8]",
        "batch_size": "4",
    },
    **{"dense_units": "8", "layers": "['relu2']", "square": "16", "stride": "16", "image_size": "32"},
    **{"few_labels": "[2]", "scratch_size": "24", "images_shown": "20", "held_out": "0.5"},
}


def test_a_folder_of_photographs_as_people_have_them(tmp_path, monkeypatch, capfd):
    """Twelve files in as many forms, from the command line; the corrupt one is named, and the rest goes through without it."""
    monkeypatch.chdir(FOLDER.parent)
    photographs.write(tmp_path / "photos")
    given = SMALL | OWN | {"dataset_name": str(tmp_path / "photos"), "images": str(tmp_path / "photos")}
    options = ["--out", str(tmp_path / "out"), *(word for name, value in given.items() for word in ("-p", name, value))]
    notebooks = ["01", "03", "04", "13", "14"]  # those for photographs of one's own
    assert main(["run", "01", *options[:2], "-p", "dataset_name", given["dataset_name"], "-p", "image_size", "32"]) == 1
    assert f"{photographs.CORRUPT} is not a readable image" in capfd.readouterr().out
    (tmp_path / "photos" / photographs.CORRUPT).unlink()
    assert main(["run", *notebooks, *options]) == 0, capfd.readouterr().out
    for page in tmp_path.glob("out/[0-9]*.html"):
        assert "are cropped in the middle to 32 × 32 pixels" in page.read_text(encoding="utf-8"), page.name
    assert len(list(tmp_path.glob("out/*/metrics.json"))) == len(notebooks)


def test_the_same_decoder_segments_images_of_the_users_own(tmp_path, capfd):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(20):
        mask = np.zeros((16, 20), np.uint8)
        mask[rng.integers(8) :, rng.integers(10) :] = 255
        Image.fromarray(np.where(mask[..., None], 200, 40).astype(np.uint8).repeat(3, axis=2)).save(
            tmp_path / f"images/{index}.jpg"
        )
        Image.fromarray(mask).save(tmp_path / f"masks/{index}.png")
    given = OTHERS["10_segmentation"] | {"masks_dir": str(tmp_path), "epochs": 8, "turned": False}
    assert run.run(["10"], overrides=given, out=tmp_path / "out", folder=FOLDER) == 0, capfd.readouterr().out
    assert "255" in (tmp_path / "out" / "10_segmentation.html").read_text(encoding="utf-8")
