"""Score the outputs of a transformers pipeline: ``python examples/score_pipeline.py MODEL FILE``.

With ``top_k=None`` a pipeline returns the scores of all classes, sorted: they must be placed by their labels, never
taken as rows. The file has the columns ``text`` and ``label``.
"""

import sys

import evaluate
from transformers import pipeline

import hf_leep
from hf_leep import data, measures
from hf_leep.evaluate_module.pipelines import place
from hf_leep.models import MODALITIES


def main(model: str, file: str) -> None:
    """Print LEEP of a text classifier, from the evaluate module and from the function."""
    target, rows = data.load(file, MODALITIES, inputs="text", label="label")
    texts = [rows[k]["text"] for k in range(len(rows))]
    outputs = pipeline("text-classification", model=model)(texts, top_k=None)  # lists of {"label", "score"}
    leep = evaluate.load(hf_leep.metric_path("leep"))
    print(leep.compute(predictions=outputs, references=target.labels, standard_error=True))

    probabilities, names = place(outputs)  # [n, s], and the classes of the columns
    print(
        f"{len(names)} source classes: leave-one-out {measures.leave_one_out_leep(probabilities, target.labels):.4f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
