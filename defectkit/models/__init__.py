"""Torch modules and losses: plain, keyword-only, independent of the configuration."""
