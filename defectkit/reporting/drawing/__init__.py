"""Pictures: overlays, contact sheets, plots and the GIF of a training."""
