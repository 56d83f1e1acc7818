"""Score arrays of your own: source probabilities and target labels are all that LEEP needs."""

import numpy as np

from hf_leep import measures


def main() -> None:
    """Score a source that knows something about the target, and one that is confident about nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 500)
    knowing = softmax(3 * np.eye(10)[labels] + rng.normal(size=(500, 10)))  # [n, s]
    guessing = softmax(8 * rng.normal(size=(500, 1000)))
    for name, probabilities in (("knowing, 10 source classes", knowing), ("guessing, 1,000", guessing)):
        score = measures.leep(probabilities, labels)
        error = measures.standard_error("leep", probabilities, labels)
        unseen = measures.leave_one_out_leep(probabilities, labels)
        print(f"{name:<28} LEEP {score:.3f} ± {1.96 * error:.3f}   leave-one-out {unseen:.3f}")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, row by row."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
