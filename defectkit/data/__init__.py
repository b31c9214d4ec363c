"""What training reads: images, the dataset, tiles and augmentation."""
