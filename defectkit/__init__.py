"""defectkit finds texture and surface defects: from run-length-encoded masks to verdicts."""

__version__ = "0.1.0"

from defectkit.api import compare, evaluate, inspect, load, prepare, suspects, train

__all__ = ["__version__", "compare", "evaluate", "inspect", "load", "prepare", "suspects", "train"]
