"""Networks that score every pixel."""
