"""Score embeddings, such as those of sentence-transformers: ``… score_embeddings.py EMBEDDINGS.npy LABELS.npy``.

    embeddings = SentenceTransformer("all-MiniLM-L6-v2").encode(texts)  # [n, d] float32
    numpy.save("embeddings.npy", embeddings)

Embeddings are features, not probabilities: LEEP and NCE do not apply, the measures of features do.
"""

import sys

import numpy as np

from hf_leep import measures


def main(embeddings_file: str, labels_file: str) -> None:
    """Print scores of embeddings ``[n, d]`` for labels ``[n]``."""
    embeddings, labels = np.load(embeddings_file), np.load(labels_file)
    for name in ("ridge", "logme", "knn"):
        score = measures.MEASURES[name].function(embeddings, labels)
        error = measures.standard_error(name, embeddings, labels)
        print(f"{measures.MEASURES[name].title} {score:.4f} ± {error:.4f} (standard error)")


if __name__ == "__main__":
    main(*sys.argv[1:])
