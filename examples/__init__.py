"""Examples, one feature each; `paper` reproduces a whole study."""
