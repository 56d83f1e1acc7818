"""Score your own arrays: LEEP needs only source probabilities and target labels."""

import numpy as np

from hf_leep import measures
from hf_leep.ranking.uncertainty import critical_value


def main() -> None:
    """Score a source that predicts the target well, and one that makes confident random guesses."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 500)
    informative = softmax(3 * np.eye(10)[labels] + rng.normal(size=(500, 10)))  # [n, s]
    guessing = softmax(8 * rng.normal(size=(500, 1000)))
    for name, probabilities in (("informative, 10 source classes", informative), ("guessing, 1,000", guessing)):
        score = measures.leep(probabilities, labels)
        error = measures.standard_error("leep", probabilities, labels)
        leave_one_out = measures.leave_one_out_leep(probabilities, labels)
        half_width = critical_value(len(labels)) * error
        print(f"{name:<31} LEEP {score:.3f} ± {half_width:.3f}   leave-one-out {leave_one_out:.3f}")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, row by row."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
