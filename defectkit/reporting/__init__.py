"""Pictures, plots, pages and tables for people."""
