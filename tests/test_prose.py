"""Numbers in texts are results that a reader can look up: in an output beside them, in a committed report, or in a paper.

A number looks like a result where it has decimals or a unit: %, dB, points, times, seconds. It is backed where

- an output of its notebook holds it, within the rounding of the text;
- its sentence says that somebody reports it, and its paragraph links to the paper;
- its paragraph names CIFAR-10 or shows a picture of reports/, and metrics of the committed runs of this notebook hold it.

A sentence that names CIFAR-10 is backed in one of the last two ways: an output is not about CIFAR-10. Settings and definitions
stand as code or as formulas, and are not read; nor are sections of a paper, versions, and the level of an interval.
"""

import json
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
UNIT = r"\s?(?:%|(?:dB|points?|times|ms|s|seconds?)\b)"
# a unit stands after the last number of a list: 30, 61 and 75 %
QUANTITY = re.compile(
    rf"(?<![\w.,])({NUMBER})(?![\w.]*\w)(?=((?:(?:, | to | and | or | against )[+−-]?{NUMBER})*{UNIT})?)", re.ASCII
)
NOT_READ = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$"  # code and formulas
    r"|\b[Ss]ections? \d[\d.]*(?:(?:, | and | to )\d[\d.]*)*|\b(?:Python|Apache) [\d.]+(?: to [\d.]+)?|95 % (?=intervals?\b)",
    re.DOTALL,
)
REPORTED = re.compile(r"\b(?:reports?|reported|published)\b")


def results(text):
    """Each number of the text that looks like a result: (as written, number, decimals, whether it is a percentage)."""
    for found in QUANTITY.finditer(text):
        written, unit = found[1], found[2] or ""
        decimals = len(written.partition(".")[2])
        if decimals or unit:
            yield written, float(written.replace(",", "")), decimals, unit.endswith("%")


def holds(numbers, number, decimals, percent):
    """Whether one of the numbers is this one, within its rounding; a share may be written as a percentage. Signs are words'."""
    scales = (1, 100) if percent else (1,)
    return any(abs(abs(n) * scale - number) <= 0.5 * 10**-decimals + 1e-9 for n in numbers for scale in scales)


def flattened(value):
    """Every number with decimals in what JSON holds: the others are counts and settings."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] * isinstance(value, float) + [number for part in parts for number in flattened(part)]


def printed(cells):
    """Numbers of the outputs of code cells that look like results."""
    texts = []
    for output in (output for cell in cells for output in cell.get("outputs", ())):
        data = output.get("data", {})
        texts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/markdown", "")]
    return [number for text in texts for _, number, *_ in results(text)]


def paragraphs(source):
    """(what is read, as written) of each paragraph; of a picture its description is read, of a link its words."""
    source = NOT_READ.sub(" ", source)
    for written in re.split(r"\n\s*\n|\n(?=(?:[-|]|\d\.) )", source):
        shown = re.sub(r"<img [^>]*?alt=\"([^\"]*)\"[^>]*>", r"\1.", written)
        yield re.sub(r"<[^>]+>", " ", re.sub(r"\]\([^)]*\)", "]", shown)), written


def unbacked(cells, report):
    """(sentence, number) of each number that looks like a result and is not backed. report: numbers of the committed runs."""
    outputs = printed(cells)
    for cell in cells:
        for text, written in paragraphs(cell.source) if cell.cell_type == "markdown" else ():
            of_report = "CIFAR-10" in text or 'src="../reports/' in written
            for sentence in re.split(r"(?<=[.!?:])[\s*]+(?=[A-Z*\[(])", text):
                own = outputs * ("CIFAR-10" not in sentence) + report * of_report
                told = REPORTED.search(sentence) and "](http" in written
                for number, *parts in results(sentence):
                    if not told and not holds(own, *parts):
                        yield sentence.strip(), number


def reported(stem):
    """Numbers in the metrics of the committed runs of a notebook on CIFAR-10."""
    files = (ROOT / "reports").glob(f"cifar10*/{stem}/metrics.json")
    return flattened([json.loads(path.read_text(encoding="utf-8"))["metrics"] for path in files])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_number_that_looks_like_a_result_is_backed(path):
    found = list(unbacked(nbformat.read(path, as_version=4).cells, reported(path.stem)))
    assert not found, "\n".join(f"{number}: {sentence}" for sentence, number in found)


def test_readme_has_its_numbers_from_the_list_of_results():
    """The list is not checked: most of it are means, ratios and intervals of what the command that a row names measures."""
    listed, said = (
        {number[1:] for text, _ in paragraphs((ROOT / name).read_text(encoding="utf-8")) for number in results(text)}
        for name in ("reports/RESULTS.md", "README.md")
    )
    assert said and said <= listed, said - listed


PRINTED = nbformat.v4.new_output("stream", text="test accuracy 0.823, 4 of 10")
CIFAR10 = [0.8818, 28.1178]  # what its committed run measured


@pytest.mark.parametrize(
    ("prose", "caught"),
    [
        ("It is right for 82 % of the images, or 0.82.", []),
        ("It is right for 84 % of the images, or 0.83.", ["84", "0.83"]),
        ("It is right for 82 % of the images, and a wider one for 79, 81 and 85.5 %.", ["79", "81", "85.5"]),
        ("It gains 2 points, 1.5 dB, and is 3 times as fast.", ["2", "1.5", "3"]),
        ("Six channels of 3 × 3 pixels, 16 epochs, 40 minutes, two times, with 95 % intervals. Section 4.1 of 2013.", []),
        ("A pair counts from `0.96`, and $p < 0.05$.\n\n```\nrate = 0.1\n```", []),
        ("On CIFAR-10 it is right for 88.2 % of the images. On `shapes` for 82 %.", []),
        ("On CIFAR-10 it is right for 82 % of the images.", ["82"]),
        ("On photographs it is right for 88.2 %.", ["88.2"]),
        ('<img src="../reports/cifar10/curves.png" alt="Right for 88.2 %, and at a distance of 28.3">', ["28.3"]),
        ("[Barz 2020](https://arxiv.org/abs/1902.00423) reports 3.3 %. We find 3.4 %.", ["3.4"]),
        ("The paper reports 3.3 %.", ["3.3"]),
    ],
)
def test_a_planted_number_is_caught_and_a_backed_one_is_not(prose, caught):
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell("accuracy", outputs=[PRINTED])]
    assert [number for _, number in unbacked(cells, CIFAR10)] == caught
