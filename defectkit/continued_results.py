"""What a command that did not end left in a folder of results, for another one to go on with."""

from defectkit.files import make_folder, output_error, replace_file
from defectkit.results_folder import Results
from defectkit.results_marker import MARKER, remove_all_but, size_of


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
