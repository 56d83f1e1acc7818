"""One run: what will be done, and doing it."""
