"""Images that show the same thing: found, and kept in one split."""
