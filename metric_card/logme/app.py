"""The page of the Space: paste or upload features and labels to score them."""

from pathlib import Path

import hf_leep.evaluate_module.space

demo = hf_leep.evaluate_module.space.app(Path(__file__).with_name("logme.py"))

if __name__ == "__main__":
    demo.launch()
