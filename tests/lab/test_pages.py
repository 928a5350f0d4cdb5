"""Pages: what the index shows, and that nothing from outside becomes HTML."""

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
