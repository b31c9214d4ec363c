"""Readers of label files: each format to one ``LabelTable``."""
