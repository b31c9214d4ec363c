"""``Thresholds``: the scores that the verdicts of a model rest on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from defectkit.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The scores at which good ends and defective begins: ``0 <= low <= high <= 1``.

    ``rule`` says how they were chosen: ``f1``, ``max_escape_rate=0.005``, ``cost_ratio=50``, or
    ``above_good``, ``below_defective``, ``default`` where validation lacked a kind of image.

    Raises:
        ValueError: the order or the range is wrong.
    """

    low: float
    high: float
    rule: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise ValueError(
                f"thresholds must satisfy 0 <= low <= high <= 1 but got {self.low} and {self.high}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Thresholds":
        """Read what ``to_dict`` wrote.

        Raises:
            ModelError: a field is missing, of the wrong type or out of range.
        """
        try:
            return cls(
                low=float(content["low"]), high=float(content["high"]), rule=str(content["rule"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the thresholds {dict(content)} cannot be used ({error}). "
                "Copy the model folder again, or train again."
            ) from error
