"""Scores, and the order that they make, with how sure it is."""
