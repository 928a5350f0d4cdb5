"""Pages: what the index shows, and that nothing from outside becomes HTML."""

import re

from matplotlib.figure import Figure

from deconvlib.lab import pages, record


def test_the_index_escapes_what_comes_from_outside(tmp_path):
    record.save(tmp_path, "01_data", {"<i>metric</i>": "<b>value</b>"}, {"sheet": Figure()})
    runs = [
        {"name": "01_data", "title": "Look <script>", "status": "done", "seconds": 3.2, "error": None},
        {"name": "02_model", "title": "Build", "status": "failed", "seconds": 1.0, "error": "cell 3: <img>"},
        {"name": "03_training", "title": "Train", "status": "waiting", "seconds": None, "error": None},
    ]
    pages.index(tmp_path, "quick & <small>", runs)
    page = (tmp_path / "index.html").read_text()
    for raw in ("<script", "<i>metric", "<b>value", "<img>", "<small>"):
        assert raw not in page
    assert 'src="01_data/sheet.png"' in page and "cell 3: &lt;img&gt;" in page and "03_training: waiting" in page
    assert "http" not in page  # opens without a network


def test_the_index_opens_with_the_series_as_cards(tmp_path):
    record.save(tmp_path, "01_data", {"images": 7}, {"sheet": Figure(), "other": Figure()})
    (tmp_path / "01_data.html").touch()
    runs = [
        {"name": "01_data", "title": "Look & see", "status": "earlier", "seconds": 3.2, "error": None},
        {"name": "02_model", "title": "Build", "status": "failed", "seconds": 200.0, "error": "cell 3"},
        {"name": "03_training", "title": "Train", "status": "waiting", "seconds": None, "error": None},
    ]
    pages.index(tmp_path, "quick", runs)
    cards, end, details = (tmp_path / "index.html").read_text().partition("</nav>")
    assert end and "<section" not in cards and "<script" not in cards + details
    first, second, third = re.findall(r"<a .*?</a>", cards)
    assert 'href="01_data.html"' in first and 'src="01_data/sheet.png"' in first and "other" not in first
    assert "<strong>Look &amp; see</strong>" in first and "01_data: earlier run, 3 s" in first
    assert 'href="#02_model"' in second and "failed, 3 min" in second and "<img" not in second
    assert "waiting<" in third
    for target in re.findall('href="#(.*?)"', cards):
        assert f'<section id="{target}">' in details
    assert "images</td><td>7" in details and "cell 3" in details and 'src="01_data/sheet.png"' in details
