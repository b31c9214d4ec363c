import inspect

from defectkit import errors
from defectkit.errors import DefectkitError, DefectkitWarning


def test_all_errors_are_of_one_family_and_say_what_they_are_for():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, DefectkitError | DefectkitWarning)
        assert kind.__doc__


def test_exit_statuses_are_those_that_the_module_promises():
    own = {
        kind.__name__: kind.exit_code
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, DefectkitError) and kind.exit_code != 2
    }
    assert own == {
        "NotFiniteError": 3,
        "WorkerError": 4,
        "MemoryShortageError": 5,
        "ImageMemoryError": 5,
        "DiskFullError": 6,
    }
    # As every shell does: 128 and the number of the signal.
    assert errors.BY_SIGNAL == (128 + 1, 128 + 2, 128 + 15)
