"""Score a pipeline with evaluate's evaluator: ``python examples/score_evaluator.py MODEL FILE``.

An evaluator keeps the top predictions alone, so the metric is NCE.

The file has the columns ``text`` and ``label``, whose classes need not be those of the model.
"""

import sys

import datasets
import evaluate

import hf_leep


def main(model: str, file: str) -> None:
    """Print NCE of a text classifier."""
    rows = datasets.load_dataset("csv", data_files=file, split="train").class_encode_column("label")
    scores = evaluate.evaluator("text-classification").compute(
        model,  # by its name: evaluate 0.4 does not take pipelines of transformers 5
        data=rows,
        metric=evaluate.load(hf_leep.metric_path("nce")),
    )
    print(f"NCE {scores['nce']:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
