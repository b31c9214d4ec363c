"""The explanations must be complete sentences, and every section must have a title."""

import pytest

from defectkit.reporting.glossary import GLOSSARY, SECTION_TITLES

ENTRIES = [(section, key) for section, entries in GLOSSARY.items() for key in entries]


def test_every_section_has_a_title():
    assert list(SECTION_TITLES) == list(GLOSSARY)


@pytest.mark.parametrize(("section", "key"), ENTRIES)
def test_names_and_meanings_are_written_out(section, key):
    name, meaning = GLOSSARY[section][key]
    assert name[:3] == "mAP" or name[0].isupper()
    assert meaning[0].isupper()
    assert meaning.endswith(".")
    assert "  " not in name + meaning


def test_only_what_there_are_several_of_has_a_placeholder():
    with_placeholder = {key for section, key in ENTRIES if "{}" in GLOSSARY[section][key][0]}
    assert with_placeholder == {"iou_by_class", "recall_by_area", "against_validation"}
