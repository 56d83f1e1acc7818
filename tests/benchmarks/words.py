"""Words of real sentences, left out alone or with their sentence: ``python tests/benchmarks/words.py DATA``.

DATA holds trec and sst2_sentences (parquet files). 100 sentences are scored, and the predictor that leave-one-out LEEP
chose on them is applied to 2,000 other sentences: what the score should say. Two kinds of labels are made from the
text: a rough part of speech by rules of spelling, which depends on the word; and the class of the sentence, given to
its longer words only, which is alike within a sentence. Three sources, made from sentences of the training split: one
of topics (clusters of sentences by their words: the same prediction for each word of a sentence), one of word shapes
(clusters of words by their letters), and both together. Means over 20 samples, in nats.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow.parquet as pq
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer

from hf_leep import measures
from hf_leep.measures import MEASURES
from hf_leep.measures.blocks import standard_error
from hf_leep.measures.leave_one_out_leep import chosen_prior_weight, floor

SAMPLES, SCORED, FRESH, TOPICS, SHAPES = 20, 100, 2000, 300, 40
RULES = [
    (0, r"(the|an?|this|that|these|those|its?|his|her|their|my|your|all|some|no)$"),
    (1, r"(of|in|on|at|to|for|with|by|from|as|into|about|and|or|but|than|if|when|where)$"),
    (2, r"(is|are|was|were|be|been|has|have|had|do|does|did|can|will|would|could|may|'s)$|.*(ed|ing|ize)$"),
    (3, r".*(ly|ful|ous|ive|able|ible|al|ic|ish|less|est|er)$"),
    (4, r"[^a-z]+$"),
]  # 5 otherwise: mostly nouns


def sentences(folder, split, rng):
    """Lists of words and the class of each sentence, shuffled."""
    table = pq.read_table(Path(folder, f"{split}.parquet")).to_pydict()
    found = [
        (line.lower().split(), c)
        for line, c in zip(table["text"], table["label"], strict=True)
        if 3 <= len(line.split()) <= 40
    ]
    return [found[i] for i in rng.permutation(len(found))]


def part_of_speech(word):
    return next((k for k, rule in RULES if re.match(rule, word)), 5)


class Source:
    """Clusters of texts by hashed features, whose closeness is turned into probabilities."""

    def __init__(self, texts, number, seed, **hashing):
        self.hashed = HashingVectorizer(n_features=2**14, **hashing)
        self.reduced = TruncatedSVD(64, random_state=seed)
        points = self.reduced.fit_transform(self.hashed.transform(texts))
        self.clusters = MiniBatchKMeans(number, random_state=seed, n_init=1).fit(points)
        self.scale = 4 / np.median(self.clusters.transform(points[:2000]).std(axis=1))

    def points(self, texts):
        return self.reduced.transform(self.hashed.transform(texts))

    def probabilities(self, texts):
        logits = -self.scale * self.clusters.transform(self.points(texts))
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)


def words_of(some, kind):
    """Words, sentence of each, and labels."""
    words = [word for line, _ in some for word in line]
    draws = np.repeat(np.arange(len(some)), [len(line) for line, _ in some])
    classes = np.array([c for _, c in some])[draws]
    if kind == "part of speech":
        return words, draws, np.array([part_of_speech(word) for word in words])
    return words, draws, np.where([len(word) > 4 for word in words], 1 + classes, 0)


def fresh(p, y, draws, other_p, other_y):
    """Mean log-likelihood of other sentences by the predictor that the score chose."""
    a, t = min(chosen_prior_weight(p, y, draws), 1e4), int(max(y.max(), other_y.max())) + 1
    joint = np.stack([p[y == c].sum(axis=0) for c in range(t)])
    prior = (np.bincount(y, minlength=t) + 1 / t) / (len(y) + 1)
    predictor = (joint + a * prior[:, None]) / (joint.sum(axis=0) + a)
    return float(np.log((other_p * predictor[other_y]).sum(axis=1)).mean())


def main(data):
    """Print the table."""
    for name in ("trec", "sst2_sentences"):
        rng = np.random.default_rng(0)
        found = sentences(Path(data, name), "train", rng)
        behind, ahead = found[:2500], found[2500:]
        topics = Source([" ".join(line) for line, _ in behind], TOPICS, 0, ngram_range=(1, 2))
        shapes = Source([w for line, _ in behind for w in line], SHAPES, 0, analyzer="char_wb", ngram_range=(2, 4))
        for kind in ("part of speech", "class of the sentence"):
            rows = {source: [] for source in ("topics", "shapes", "both")}
            heads = []
            for _ in range(SAMPLES):
                order = rng.permutation(len(ahead))
                some, others = ([ahead[i] for i in part] for part in (order[:SCORED], order[SCORED:][:FRESH]))
                made = []
                for part in (some, others):
                    words, draws, y = words_of(part, kind)
                    by_topic = topics.probabilities([" ".join(line) for line, _ in part])[draws]
                    by_shape = shapes.probabilities(words)
                    both = np.concatenate([by_topic, by_shape], axis=1) / 2
                    made.append((draws, y, {"topics": by_topic, "shapes": by_shape, "both": both}))
                (draws, y, sources), (_, other_y, other_sources) = made
                for source, p in sources.items():
                    value, influence = MEASURES["leave-one-out-leep"].influence_by_draw(p, y, draws)
                    truth = fresh(p, y, draws, other_sources[source], other_y)
                    alone = measures.leave_one_out_leep(p, y)
                    rows[source].append((alone, floor(y), value, floor(y, draws), truth, standard_error(influence)))
                f = topics.points([" ".join(line) for line, _ in some])[draws]
                f = f + 0.01 * rng.normal(size=f.shape)
                heads.append(
                    [
                        measures.MEASURES[m].function(f, y, draws=d)
                        for m in ("knn", "ridge", "lfc")
                        for d in (None, draws)
                    ]
                )
            print(f"{name}, {kind}: {len(y) / SCORED:.1f} words a sentence, classes {np.bincount(y).tolist()}")
            print(
                "           words left out (floor)   sentences left out (floor)   fresh sentences   error, and spread"
            )
            for source, values in rows.items():
                alone, low, value, bottom, truth, error = np.mean(values, axis=0)
                spread = np.std([row[2] for row in values], ddof=1)
                print(
                    f"  {source:8} {alone:8.3f} ({low:.3f})        {value:8.3f} ({bottom:.3f})        {truth:8.3f}"
                    f"          {error:.3f}, {spread:.3f}"
                )
            first = np.argmax(np.mean([[row[0] for row in values] for values in rows.values()], axis=1))
            print(f"  first by words: {list(rows)[first]}; features of topics, by words and by sentences:", end=" ")
            mean = np.mean(heads, axis=0)
            print(
                ", ".join(
                    f"{m} {mean[2 * k]:.3f} and {mean[2 * k + 1]:.3f}" for k, m in enumerate(("knn", "ridge", "lfc"))
                )
            )


if __name__ == "__main__":
    main(sys.argv[1])
