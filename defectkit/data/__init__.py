"""Images, datasets, splits, tiles, augmentation and the synthetic generator."""
