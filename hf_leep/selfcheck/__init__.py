"""Whether this machine computes the measures rightly."""
