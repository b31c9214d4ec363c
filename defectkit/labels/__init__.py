"""Label formats, run-length encodings, outlines, and the ledger of every row."""
