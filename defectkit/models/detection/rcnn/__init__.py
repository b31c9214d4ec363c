"""R-CNN and Fast R-CNN: regions proposed from the pixels."""
