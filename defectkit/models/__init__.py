"""Torch modules and losses: plain, keyword-only, knowing no configuration."""
