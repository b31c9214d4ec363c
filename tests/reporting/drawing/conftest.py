import pytest

from defectkit.reporting.drawing import plots, size_plot


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn."""
    figures = []

    def remember(width, height):
        figures.append(make(width, height))
        return figures[-1]

    make = plots.new_figure
    for module in (plots, size_plot):
        monkeypatch.setattr(module, "new_figure", remember)
    return figures
