"""Pictures: overlays, contact sheets, curves, animations."""
