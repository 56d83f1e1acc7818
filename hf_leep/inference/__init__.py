"""The single forward pass."""
