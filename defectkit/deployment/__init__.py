"""Trained models as files, their evaluation, and the dataset they were trained on."""
