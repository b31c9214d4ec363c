import math

from defectkit.config import (
    Config,
    reference,
)


def test_the_reference_has_every_key_with_its_default_and_meaning():
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in reference().splitlines()
    ]
    cells = {row[0].strip("*`"): row[1:] for row in rows[2:]}
    keys = {
        name
        for name, section in Config.model_fields.items()
        if not hasattr(section.annotation, "model_fields")
    } | {
        f"{name}.{key}"
        for name, section in Config.model_fields.items()
        for key in getattr(section.annotation, "model_fields", ())
    }
    assert keys <= set(cells)
    assert cells["train.lr"][0] == "`0.001`"
    assert all(len(cells[key][1]) > 10 for key in keys), "every key says what it means"
    assert not math.isnan(float(cells["train.lr"][0].strip("`")))
