from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from defectkit.reporting.drawing.figures import new_figure


def test_figures_have_a_canvas_of_their_own():
    figure = new_figure(2, 2)
    assert isinstance(figure, Figure)
    assert isinstance(figure.canvas, FigureCanvasAgg)
