"""``python -m hf_leep`` is ``hf-leep``."""

from hf_leep.cli import main

main()
