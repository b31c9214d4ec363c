"""What a person looks at: overlays, sheets, curves and the report page."""
