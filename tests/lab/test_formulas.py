"""Formulas: TeX becomes MathML where it is a formula, and nothing else changes."""

from pathlib import Path

import nbformat
import pytest

from deconvlib.lab import formulas, pages


def test_a_formula_becomes_the_element_that_a_person_would_write():
    written = formulas.mathml(r"x_1 < \rho")
    assert written.startswith("<math ") and 'display="inline"' in written
    assert written.endswith("<mrow><msub><mi>x</mi><mn>1</mn></msub><mo>&#x0003C;</mo><mi>&#x003C1;</mi></mrow></math>")
    assert 'display="block"' in formulas.mathml("x", "block")


@pytest.mark.parametrize("formula", (r"\frac{", r"\left(", "}{", r"\nosuch{x}", " "))
def test_what_cannot_be_converted_is_said(formula):
    assert formulas.mathml(formula) == ""


def test_what_stands_in_a_formula_does_not_become_html():
    assert "&lt;img" in formulas.mathml(r"\text{<img src=x onerror=alert(1)>}")
    assert "<b>" not in formulas.mathml(r"\color{<b>}{x}") and "&amp;" in formulas.mathml("a & b")


def test_only_formulas_change():
    text = r"One $x^2$, a price of \$5 or \$6, code `$y^2$`, one that is wrong: $\frac{$." + "\n\n    $z^2$\n\n$$w^2$$"
    page = pages.notebook(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), "texts", Path())
    said = page.partition("One <math")[2]
    assert said and page.count("<math ") == 2 and 'display="block"' in page
    for kept in ("a price of $5 or $6", "<code>$y^2$</code>", r"one that is wrong: $\frac{$.", "$z^2$"):
        assert kept in said, kept
    assert "$x^2$" not in page and "$$" not in said
