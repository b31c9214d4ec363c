"""Trained models as files: all that an inspection needs, and no way back to the data."""
