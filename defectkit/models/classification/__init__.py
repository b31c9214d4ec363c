"""Networks that classify tiles."""
