"""From label files and image folders to a dataset folder."""
