"""Metrics, verdicts and region matching, the same for every approach."""
