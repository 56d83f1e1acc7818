"""The page of the Space: paste or upload probabilities and labels to score them."""

from pathlib import Path

import hf_leep.evaluate_module.space

demo = hf_leep.evaluate_module.space.app(Path(__file__).with_name("leave_one_out_leep.py"))

if __name__ == "__main__":
    demo.launch()
