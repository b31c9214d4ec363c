import ast
from pathlib import Path
from typing import get_args

from defectkit import vocabulary


def test_an_option_has_the_words_of_its_kind_and_auto():
    options = {
        vocabulary.LabelFormatOption: vocabulary.LabelFormat,
        vocabulary.RleOrderOption: vocabulary.RleOrder,
    }
    for option, kind in options.items():
        assert get_args(option) == ("auto", *get_args(kind))
    assert set(get_args(vocabulary.WrittenLabelFormat)) <= set(get_args(vocabulary.LabelFormat))


def test_it_imports_nothing_of_ours_and_nothing_slow():
    tree = ast.parse(Path(vocabulary.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["from typing import Literal, get_args"]
