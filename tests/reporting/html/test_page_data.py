import json
import math

import pytest

from defectkit.reporting.html.page_data import page_json

EVIL = "</script><img src=x onerror=alert(1)>&amp;\u2028\u2029.png"


@pytest.mark.check(28)
def test_no_text_ends_the_script_element_and_all_comes_back_inert():
    text = page_json({EVIL: [EVIL, {"id": EVIL}]})
    assert not set("<>&\u2028\u2029") & set(text)
    shown = EVIL.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    assert json.loads(text) == {shown: [shown, {"id": shown}]}


def test_what_javascript_reads_is_what_was_given():
    content = {"a": [1, 2.5, None, True, "x", [0.1 + 0.2]], "b": {"c": []}, "d": "划痕 \"'\\"}
    assert json.loads(page_json(content)) == content


def test_marks_that_hide_or_reorder_are_shown():
    assert json.loads(page_json(["a\u202eb\udcff\x1b"])) == ["a\\u202eb\\udcff\\x1b"]


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        page_json([math.nan])
