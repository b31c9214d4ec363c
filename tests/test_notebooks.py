"""The notebooks run from top to bottom, and the site shows them."""

import ast
import json

import pytest
from doc_pages import ROOT
from site_hooks import ADOPTED, notebook_page

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MAX_CELLS = 12
SECONDS = 600
"""For a cell, on a busy machine."""


def cells_of(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def of_kind(path, kind):
    return ["".join(cell["source"]) for cell in cells_of(path) if cell["cell_type"] == kind]


def test_there_are_notebooks_and_each_has_a_page():
    adopted = {ROOT / source for source in ADOPTED if source.endswith(".ipynb")}
    assert set(NOTEBOOKS) == adopted
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_kept_without_outputs(path):
    cells = cells_of(path)
    assert len(cells) <= MAX_CELLS
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)
    for code in of_kind(path, "code"):
        ast.parse(code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_page_has_every_cell_and_the_file(path):
    page = notebook_page(path.read_text(encoding="utf-8"), name=path.name)
    assert page.startswith("# ")
    assert f'href="{path.name}" download' in page
    for text in of_kind(path, "markdown"):
        assert text in page
    for text in of_kind(path, "code"):
        assert f"```python\n{text}\n```" in page


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where it writes
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources=place).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert any("image/png" in one.get("data", {}) for one in outputs)
    (made,) = tmp_path.glob("defectkit-*")
    assert (made / "run" / "evaluation" / "test" / "report.html").is_file()
