"""The generator of synthetic inspection images."""
