"""Everything that can go wrong for a user, in one family.

The command line catches ``DefectkitError`` once, prints the message and exits with ``exit_code``.
Every message says what is wrong, the value, and the way out. Invariants of our own use ``assert``.
"""


class DefectkitError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 2


class ConfigError(DefectkitError):
    """A configuration file or ``--set`` value that does not fit the models in ``config.py``."""


class LabelError(DefectkitError):
    """A label file, a row of it, or a run-length encoding that cannot be used."""


class ImageError(DefectkitError):
    """An image file that cannot be read in full."""


class DatasetError(DefectkitError):
    """A dataset folder that is missing, damaged or unfit for what is asked."""


class ModelError(DefectkitError):
    """A network, its weights or a model folder that cannot be built or loaded."""


class TrainingError(DefectkitError):
    """Training that had to stop, for example on a loss that is not finite."""


class OutputError(DefectkitError):
    """An output folder or file that cannot be written."""


class DefectkitWarning(UserWarning):
    """Something the user should know that does not stop the work."""
