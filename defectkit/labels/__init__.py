"""Run-length encodings, label tables and the regions that masks hold."""
