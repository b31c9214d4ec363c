"""Checks what programs pass to the pipelines, by their signatures; the command line has typer."""

import re
import types
from collections.abc import Callable, Iterable
from functools import cache, wraps
from inspect import Parameter, Signature, formatannotation, signature, unwrap
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from defectkit.errors import ConfigError, shown

Run = Callable[..., Any]


@cache  # one function for each pipeline: pickle finds it by its name
def checked(run: Run) -> Run:
    """Return the ``run`` of a pipeline as the package offers it: under the name of the pipeline.

    It raises ``ConfigError`` for arguments that do not fit the signature. Numbers of numpy become
    those of Python; True and False are no numbers, and 0 and 1 are not True and False.
    """
    name = run.__module__.rpartition(".")[2]
    declared = signature(run)

    @wraps(run)
    def function(*args: Any, **options: Any) -> Any:
        try:
            given = declared.bind(*args, **options)
        except TypeError as error:
            raise ConfigError(
                f"{name}(): {error}. Call it as {name}{_outline(declared)}; what follows the * is "
                "given by name."
            ) from None
        hints = _hints(run)
        for key, value in given.arguments.items():
            label, hint = f"{name}(): {key}", hints[key]
            if declared.parameters[key].kind is Parameter.VAR_POSITIONAL:
                way_out = " Pass the items one by one, as *[...] does."
                value = tuple(_fitting(one, hint, label, of_list=way_out) for one in value)
            else:
                value = _fitting(value, hint, label)
            given.arguments[key] = value
        return run(*given.args, **given.kwargs)

    function.__module__, function.__name__, function.__qualname__ = "defectkit", name, name
    return function


def _outline(declared: Signature) -> Signature:
    """Return a signature without types and defaults, to be shown."""
    bare = [one.replace(annotation=one.empty, default=one.empty)
            for one in declared.parameters.values()]  # fmt: skip
    return Signature(bare)


def _hints(run: Run) -> dict[str, Any]:
    """Return the types of the parameters; that of the result may need what is not imported."""
    from pydantic import InstanceOf

    from defectkit.config import Config  # pipelines name it for type checkers alone: it is slow

    of_parameters = {key: hint for key, hint in run.__annotations__.items() if key != "return"}
    holder = types.SimpleNamespace(__annotations__=of_parameters)
    names = {"Config": InstanceOf[Config]}  # pydantic would take a dictionary as well
    return get_type_hints(holder, unwrap(run).__globals__, names, include_extras=True)


def _fitting(value: Any, hint: Any, label: str, *, of_list: str = "") -> Any:
    """Return a value that has the type ``hint``; ``of_list`` is the way out if it is a list.

    Raises:
        ConfigError: it has another type.
    """
    import numpy as np
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    value = value.item() if isinstance(value, np.generic) else value
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(
            value, strict=True
        )
    except ValidationError:
        raise ConfigError(
            f"{label} takes {' or '.join(_choices(hint))}, not {shown(value)} "
            f"({type(value).__name__}).{of_list if isinstance(value, Iterable) else ''}"
        ) from None
    return value


def _choices(hint: Any) -> list[str]:
    """Name what a type takes.

    >>> _choices(str | None), _choices(Literal["a", "b"] | None)
    (['str', 'None'], ["'a'", "'b'", 'None'])
    """
    if get_origin(hint) is Annotated:
        return _choices(hint.__origin__)
    if get_origin(hint) is Literal:
        return [repr(one) for one in get_args(hint)]
    if get_origin(hint) in (Union, types.UnionType):
        return [name for one in get_args(hint) for name in _choices(one)]
    return [re.sub(r"\w+\.", "", formatannotation(hint)).replace("NoneType", "None")]
