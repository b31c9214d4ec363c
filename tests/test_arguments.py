import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import defectkit
from defectkit.arguments import checked
from defectkit.errors import ConfigError
from defectkit.pipelines import compare, evaluate, prepare, train

pytestmark = pytest.mark.check(57)


@pytest.mark.parametrize(
    ("name", "arguments", "options", "told"),
    [
        ("prepare", [3], {}, "source takes str or Path, not 3 (int)."),
        ("prepare", ["a.csv"], {"split": (0.5, 0.25, 0.25)},
         "split takes str, not (0.5, 0.25, 0.25) (tuple)."),
        ("prepare", ["a.csv"], {"workers": "x"}, "workers takes int or None, not 'x' (str)."),
        ("prepare", ["a.csv"], {"workers": True}, "workers takes int or None, not True (bool)."),
        ("prepare", ["a.csv"], {"seed": np.float32(1.5)}, "seed takes int, not 1.5 (float)."),
        ("prepare", ["a.csv"], {"boxes": 1}, "boxes takes bool, not 1 (int)."),
        ("prepare", ["a.csv"], {"rle_base": 1},
         "rle_base takes 'auto' or '0' or '1', not 1 (int)."),
        ("prepare", ["a.csv"], {"console": print},
         "console takes Console or None, not <built-in function print> "
         "(builtin_function_or_method)."),
        ("train", [], {"config": {"seed": 3}},
         "config takes str or Path or Config or None, not {'seed': 3} (dict)."),
        ("train", [], {"settings": "train.epochs=3"},
         "settings takes Sequence[str], not 'train.epochs=3' (str)."),
        ("train", [], {"device": "tpu"},
         "device takes 'auto' or 'cpu' or 'cuda' or 'mps' or None, not 'tpu' (str)."),
        ("evaluate", ["run"], {"split": "foo"},
         "split takes 'train' or 'val' or 'test' or 'all' or None, not 'foo' (str)."),
        ("inspect", ["run", ["a.png"]], {},
         "images takes str or Path, not ['a.png'] (list). Pass the items one by one, as *[...] "
         "does."),
        ("inspect", ["run", "a.png", 3], {}, "images takes str or Path, not 3 (int)."),
        ("compare", [["run"]], {},
         "runs takes str or Path, not ['run'] (list). Pass the items one by one, as *[...] does."),
        ("suspects", ["run"], {"max_images": 2.0}, "max_images takes int, not 2.0 (float)."),
        ("suspects", [["run"]], {}, "run takes str or Path, not ['run'] (list)."),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told(name, arguments, options, told):
    with pytest.raises(ConfigError) as caught:
        getattr(defectkit, name)(*arguments, **options)
    assert str(caught.value) == f"{name}(): {told}"


@pytest.mark.parametrize(
    ("name", "arguments", "options", "told"),
    [
        ("train", ["dataset"], {},
         "too many positional arguments. Call it as train(*, approach, config, data, out, "),
        ("evaluate", [], {}, "missing a required argument: 'run'. Call it as evaluate(run, *, "),
        ("inspect", ["run"], {"images": "a.png"},
         "got an unexpected keyword argument 'images'. Call it as inspect(model, *images, out, "),
    ],
)  # fmt: skip
def test_arguments_that_the_signature_lacks_are_told(name, arguments, options, told):
    with pytest.raises(ConfigError) as caught:
        getattr(defectkit, name)(*arguments, **options)
    assert str(caught.value).startswith(f"{name}(): {told}")


def test_an_inspection_of_nothing_is_told():
    with pytest.raises(ConfigError, match="no image to inspect"):
        defectkit.inspect("run")


def test_what_fits_reaches_the_pipeline():
    def run(*paths: str | Path, count: int | None = None, share: float = 0.5, names: str = "a"):
        return paths, count, share, names

    function = checked(run)
    path = "no utf-8: \udcff"
    assert function() == ((), None, 0.5, "a")
    given = function(path, Path("b"), count=np.int64(3), share=np.float32(0.25), names=np.str_("b"))
    assert given == ((path, Path("b")), 3, 0.25, "b")
    assert [type(one) for one in given[1:]] == [int, float, str]
    assert function(share=1)[2] == 1


def test_type_errors_of_the_pipeline_itself_stay():
    def run(count: int):
        return count + "1"

    with pytest.raises(TypeError):
        checked(run)(1)


@pytest.mark.parametrize("pipeline", [prepare, train, evaluate, compare])
def test_the_function_is_known_as_the_pipeline(pipeline):
    function = checked(pipeline.run)
    name = pipeline.__name__.rpartition(".")[2]
    assert repr(function).startswith(f"<function {name} at ")
    assert function.__doc__ == pipeline.run.__doc__
    assert inspect.signature(function) == inspect.signature(pipeline.run)
    # So it passes to other processes.
    assert getattr(import_module(function.__module__), function.__qualname__) is function
