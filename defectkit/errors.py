"""All errors that a user can meet, in one family.

The command line catches ``DefectkitError`` once, prints the message and exits with ``exit_code``.
Every message says what is wrong, the value, and the way out. Invariants of our own use ``assert``.

Exit status 2 is for mistakes that the user can fix at once. What a script that supervises training
needs to tell apart has its own: 3 not finite, 4 a dead process, 5 memory, 6 disk. Any other failure
is a ``FAULT``. A signal ends the command with 128 plus its number, as in every shell:
``BY_SIGNAL``.
"""

import errno

UNREADABLE = 1
"""Exit status of an inspection that lists something in ``errors.csv``, and of nothing else."""
FAULT = 70
"""Exit status after any failure that is none of those below: a fault of defectkit."""
HUNG_UP = 129
"""Exit status after SIGHUP: the terminal was closed."""
INTERRUPTED = 130
"""Exit status after SIGINT (Ctrl+C)."""
TERMINATED = 143
"""Exit status after SIGTERM."""
BY_SIGNAL = (HUNG_UP, INTERRUPTED, TERMINATED)
"""Exit statuses of a command that a signal has ended."""

MAX_SEED = 2**32 - 1
"""The largest seed of numpy's random generators."""
MAX_SHOWN = 100
"""Max. number of characters of a value in a message."""
MAX_MISTAKES = 20
"""Max. number of mistakes that are named."""


def shown(value: object) -> str:
    """Return a value as messages show it: text in quotes, and what is long cut off.

    >>> shown("ab"), shown(3)
    ("'ab'", '3')
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:60]}... ({len(text):,} characters)"


class DefectkitError(Exception):
    """Base of all errors that a user can cause and fix."""

    exit_code = 2
    told_by_another: bool = False
    """Whether another process of the same command prints the message."""


class ConfigError(DefectkitError):
    """A configuration file or ``--set`` value that does not fit the settings in ``config/``."""


def check_range(option: str, value: float | None, low: float, high: float) -> None:
    """Check the value of an option from ``low`` to ``high``; None lets the command choose.

    Raises:
        ConfigError: it is out of this range, or not a number.
    """
    if value is not None and not low <= value <= high:  # NaN fails this as well
        raise ConfigError(
            f"{option} {shown(value)} is out of range. Choose between {low} and {high}."
        )


class LabelError(DefectkitError):
    """A label file, one of its rows, or a run-length encoding that cannot be used."""


class ImageError(DefectkitError):
    """An image file that cannot be read completely."""


class StoreError(ImageError):
    """An object store that does not answer or refuses: its image may be read another time."""


class DatasetError(DefectkitError):
    """A dataset folder that is missing, damaged or unsuitable for what is asked."""


class ModelError(DefectkitError):
    """A network, its weights or a model folder that cannot be built or loaded."""


class ExportError(DefectkitError):
    """A model that cannot be exported, or whose export does not answer as the model does."""


class MissingPackageError(DefectkitError):
    """A package that is not installed, since it comes with an extra of defectkit."""


class TrainingError(DefectkitError):
    """Training that cannot start, continue or be resumed."""


class NotFiniteError(TrainingError):
    """The loss, its gradient or a score became NaN or infinite."""

    exit_code = 3


class WorkerError(DefectkitError):
    """A worker process died, for example for lack of memory, or cannot be started."""

    exit_code = 4


class MemoryShortageError(DefectkitError):
    """The machine or its GPU ran out of memory."""

    exit_code = 5


class ImageMemoryError(ImageError, MemoryShortageError):
    """An image that needs more memory than is free; an inspection goes on with the next one."""


class OutputError(DefectkitError):
    """An output folder or file that cannot be written."""


class DiskFullError(OutputError):
    """No space is left for a file: on the disk, in a quota, or under a limit on file sizes."""

    exit_code = 6


class DefectkitWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or its GPU had too little memory."""
    # Few libraries have a type for it. torch's is told by its name, since torch is slow to import.
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    texts = (
        *("DefaultCPUAllocator", "MemoryError in DataLoader worker"),  # torch and numpy, on a CPU
        *("out of memory", "STATUS_ALLOC_FAILED"),  # CUDA and Apple's GPUs; cuDNN, cuBLAS
        "Insufficient memory",  # OpenCV
    )
    without_type = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (without_type and any(text in str(error) for text in texts))
    )


def refusal(error: object) -> str:
    """Return what to tell where the user may not read a file, and the way out; else "".

    Such a file may be whole: it is not to be called damaged.
    """
    if not isinstance(error, PermissionError):
        return ""
    return f"cannot read {error.filename}: {error.strerror}. Give yourself the right to read it."


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop; its kind if nothing."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
