import numpy as np
import pytest

from defectkit.reporting.drawing.size_plot import plot_region_recall

RECALL = {
    "0-63": {"found": 1, "total": 4, "value": 0.25, "low": 0.006, "high": 0.81},
    "64-255": {"found": 0, "total": 0, "value": None, "low": 0.0, "high": 1.0},
    "256+": {"found": 3, "total": 3, "value": 1.0, "low": 0.29, "high": 1.0},
}


@pytest.mark.filterwarnings("error")
def test_recall_by_area_has_a_line_per_range_that_has_regions(tmp_path, drawn):
    plot_region_recall(tmp_path / "recall.png", RECALL)
    axes = drawn[0].axes[0]
    ranges = [line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
    assert ranges == [[[1, 0.25], [64, 0.25]], [[256, 1.0], [1024, 1.0]]]
    assert axes.get_xticks().tolist() == [1, 64, 256]
    assert [text.get_text() for text in axes.texts] == ["1 of 4", "3 of 3"]
    (whisker,) = axes.containers[0].lines[2]
    (segment,) = whisker.get_segments()
    assert segment[:, 0] == pytest.approx([8, 8])
    assert segment[:, 1] == pytest.approx([0.006, 0.81])
    plot_region_recall(tmp_path / "none.png", {})
    assert (tmp_path / "none.png").stat().st_size > 1000


@pytest.mark.filterwarnings("error")
def test_the_probability_of_detection_is_a_curve_with_its_band_and_sizes(tmp_path, drawn):
    curve = {"sizes": [10.0, 100.0, 1000.0], "probability": [0.2, 0.7, 0.97]}
    bounds = {"low": [0.1, 0.5, 0.92], "high": [0.4, 0.85, 0.99], "a90": 420.0, "a90_95": None}
    plot_region_recall(tmp_path / "recall.png", RECALL, {**curve, **bounds})
    axes = drawn[0].axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["probability of detection", "one-sided bounds of 95 %", "a90: 420 pixels"]
    line = next(one for one in axes.lines if one.get_label() == "probability of detection")
    np.testing.assert_allclose(line.get_xydata(), np.column_stack(list(curve.values())))
    plot_region_recall(tmp_path / "recall.png", RECALL, {**curve, **bounds, "low": None})
    assert len(drawn[1].axes[0].collections) == 2  # the whiskers alone
