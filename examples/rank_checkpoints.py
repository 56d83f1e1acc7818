"""Rank checkpoints from Python: ``python examples/rank_checkpoints.py DATASET OUTPUT MODEL [MODEL ...]``."""

import sys

import hf_leep


def main(dataset: str, output: str, *models: str) -> None:
    """Rank the models on the data set's train split and write the report."""
    report = hf_leep.rank(models, dataset, split="train", measures=("leep", "leave-one-out-leep", "logme"))
    for candidate in report.candidates:
        if candidate["rank"] is None:
            print(f"not ranked: {candidate['id']} ({candidate['reason']})")
        else:
            leep = candidate["scores"]["leep"]
            ties = candidate["tie_letters"] or "error not known"  # who shares a letter is not told apart
            print(f"{candidate['rank']}. ({ties}) {candidate['id']} {leep['value']:.3f}")
    report.save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
