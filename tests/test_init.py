import defectkit
from defectkit.arguments import checked
from defectkit.pipelines import compare, evaluate, export, inspect, merge, prepare, suspects, train


def test_the_package_offers_the_pipelines_and_load():
    assert set(defectkit.__all__) == {
        "__version__", "compare", "errors", "evaluate", "export", "inspect", "load", "merge",
        "plan", "prepare", "suspects", "train",
    }  # fmt: skip
    for name, pipeline in {
        "compare": compare, "evaluate": evaluate, "export": export, "inspect": inspect,
        "merge": merge, "prepare": prepare, "suspects": suspects, "train": train,
    }.items():  # fmt: skip
        assert getattr(defectkit, name) is checked(pipeline.run)
    assert sorted(defectkit.__all__) == dir(defectkit)


def test_what_the_package_lacks_is_an_attribute_error():
    assert not hasattr(defectkit, "trian")
