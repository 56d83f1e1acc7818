"""The second truth of `choice.py`: accuracy of whole networks that are fine-tuned on the target rows."""

import time

import choice
import choice_pools
import numpy as np
import torch

from hf_leep import data as target_data
from hf_leep.errors import CandidateError
from hf_leep.inference.forward import accelerator
from hf_leep.inference.loader import Loader
from hf_leep.models import BY_NAME, MODALITIES
from hf_leep.training.fine_tune import Examples, fine_tune
from hf_leep.training.records import Recipe


def networks(data, folder, kinds, draws=6):
    """Fine-tune every candidate in every cell of `choice.TUNED` of these kinds, one draw after the other; resumes."""
    torch.set_num_threads(1)
    cells = [cell for cell in choice.TUNED if cell[0] in kinds]
    pools = {kind: choice_pools.prepare(kind, data, folder) for kind in {kind for kind, _, _ in cells}}
    rows = {}
    for draw in range(draws):
        for kind, t, per_class in cells:
            pool = pools[kind]
            names = [name for name in pool.names if name in pool.stated or "untrained" in name]
            choice.scores_of(pool, t, per_class, draw, ())
            if kind not in rows:
                rows[kind] = target_data.load(
                    choice_pools.rows_of(kind, data), MODALITIES, label="label", progress=False
                )
            for name in names:
                file = folder / "networks" / f"{kind}-{t}-{per_class}-{draw}" / f"{name}.npy"
                if file.exists():
                    continue
                file.parent.mkdir(parents=True, exist_ok=True)
                start = time.perf_counter()
                outcomes = tuned(pool, name, *rows[kind], *choice.drawn(pool, t, per_class, draw))
                np.save(file, outcomes)
                found = " ".join(f"{mean:.3f}" for mean in outcomes.mean(axis=1))
                print(f"{file.parent.name} {name}: {found} in {time.perf_counter() - start:.0f} s", flush=True)


def tuned(pool, name, target, rows, picked, codes, others, other_codes):
    """Which of the other rows a network gets right after fine-tuning, at each of `choice.RATES`: ``[rates, rows]``."""
    some = np.sort(np.random.default_rng(0).permutation(len(others))[: choice.TESTED])
    others, other_codes = others[some], other_codes[some]
    order = np.argsort(others)
    labels = np.full(len(target.labels), -1)
    labels[picked], labels[others] = codes, other_codes
    adapter = BY_NAME["text" if pool.kind.startswith("texts") else "image"].adapter
    network = adapter.load(
        pool.folder / "models" / name, target.input_columns, torch.float32, False, class_names=target.class_names
    )
    loader = Loader(rows, budget=2**28)
    examples = Examples(
        lambda positions: loader.batch(network, positions), lambda positions: positions, labels, codes.max() + 1
    )
    on, found = accelerator("cpu"), []
    for rate in choice.RATES:
        recipe = Recipe(rate, choice.STEPS[len(picked)])
        try:
            found.append(fine_tune(network, examples, picked, others[order], recipe, on=on).correct)
        except CandidateError as error:
            print(f"{name}: {error}", flush=True)
            found.append(np.zeros(len(others), dtype=bool))
    return np.stack(found)
