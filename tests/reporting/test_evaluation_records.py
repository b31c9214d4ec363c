import json
from dataclasses import replace

import numpy as np
import pytest

from defectkit.deployment.evaluate_images import Judged, JudgedImage, judge_images
from defectkit.deployment.load_model import load_model
from defectkit.deployment.run_dataset import load_dataset_of_run
from defectkit.evaluation.box_metrics import judge_boxes
from defectkit.evaluation.prediction import predict_by
from defectkit.reporting.evaluation_records import read_record, write_record
from defectkit.reporting.html.page_images import PageImage, write_page_image


@pytest.fixture
def judged(run_folder, tmp_path) -> list[tuple[JudgedImage, PageImage]]:
    """All images of a dataset, as a run judges them, but with boxes that are right."""
    model = load_model(run_folder, device="cpu")
    records = load_dataset_of_run(run_folder, model).records
    images: list[tuple[JudgedImage, PageImage]] = []

    def keep(one: JudgedImage) -> None:
        page = write_page_image(tmp_path, one.prediction, one.matches)
        truth = one.prediction.truth.as_found(model.found_classes).regions
        found = [replace(region, score=1 / (3 + place)) for place, region in enumerate(truth)]
        images.append((replace(one, boxes=judge_boxes(found, truth)), page))

    predictions = predict_by(model, records)
    judge_images(Judged.by(model), model, predictions, all_regions=True, on_image=keep)
    return images


def test_what_is_kept_comes_back_bit_for_bit(judged):
    assert any(one.matches for one, _ in judged)
    assert any(boxes.hits.any() for one, _ in judged for boxes in one.boxes.values())
    for one, page in judged:
        kept = read_record(json.loads(json.dumps(write_record(one, page))))
        assert list(kept.row.items()) == list(one.row.items())
        assert [match.row() for match in kept.matches] == [match.row() for match in one.matches]
        assert kept.page == replace(page, regions=list(page.regions))
        assert kept.boxes.keys() == one.boxes.keys()
        for name, boxes in one.boxes.items():
            assert kept.boxes[name].n_true == boxes.n_true
            np.testing.assert_array_equal(kept.boxes[name].scores, boxes.scores)
            np.testing.assert_array_equal(kept.boxes[name].hits, boxes.hits)
            assert kept.boxes[name].hits.shape == boxes.hits.shape
        assert kept.seconds == one.prediction.seconds
    read = [read_record(write_record(one, page)).is_first for one, page in judged]
    assert read == [True, *[False] * (len(judged) - 1)]
