"""What a command that did not end left in a folder of results, for another one to go on with."""

from collections.abc import Mapping
from pathlib import Path

from defectkit.errors import ConfigError, refusal, shown
from defectkit.files import make_folder, output_error, replace_file, write_json
from defectkit.results_folder import Results
from defectkit.results_marker import MARKER, remove_all_but, size_of
from defectkit.seals import add_seal, read_sealed


def bring_back(results: Results, last: str) -> bool:
    """Return whether results that were not completed are there; they are in their ``folder`` then.

    A kill leaves them there. What an error or an interruption put in its place is moved back,
    unless earlier complete results stand there.

    Args:
        results: of ``write_results`` with ``keep``.
        last: the file without which nothing can go on. It is moved last, so that another kill
            meanwhile changes nothing.

    Raises:
        OutputError: they cannot be moved.
    """
    if (results.folder / last).is_file():
        return True
    own = [name for name, size in results.earlier.items() if size_of(results.out / name) == size]
    if results.keeps_earlier or last not in own:
        return False
    for name in sorted(own, key=lambda one: (one == last, one)):
        target = results.folder / name
        if not target.parent.is_dir():
            make_folder(target.parent)
        replace_file(results.out / name, target)
    return True


def keep_alone(results: Results, name: str) -> None:
    """Remove what a command that did not end left where results are written, but for one file.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        remove_all_but({MARKER, name}, results.folder)
    except OSError as error:
        raise output_error(results.folder, error) from error


def write_state(path: Path, same: Mapping[str, str]) -> None:
    """Write what a command and its continuation must have in common, by its names for people."""
    write_json(path, add_seal({"same": dict(same)}))


def check_state(path: Path, same: Mapping[str, str], *, what: str, way_out: str) -> None:
    """Check that a command is the one that ``write_state`` was called for.

    Args:
        path: the file.
        same: what it has in common with that one.
        what: what it makes, such as "evaluation".
        way_out: a sentence.

    Raises:
        ConfigError: it is not, or the file is damaged.
    """
    head = f"the {what} in {path.parent} cannot go on"
    try:
        earlier = read_sealed(path)["same"]
        changed = [name for name in {**earlier, **same} if earlier.get(name) != same.get(name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(refusal(error) or f"{head}: {error}. {way_out}") from error
    if changed:
        name = changed[0]
        raise ConfigError(
            f"{head}: {name} was {shown(earlier.get(name, ''))}, and now is "
            f"{shown(same.get(name, ''))}. Give the same images, model and options, or "
            f"{way_out[0].lower()}{way_out[1:]}"
        )
