"""Loading and running token classifiers: one example a word."""

import numpy as np
import pytest
import torch

from hf_leep import data, forward
from hf_leep.modalities import token
from hf_leep.records import Candidate

CLASSES = {"bert": 5, "roberta": 4, "gpt2": 3}
LIMIT = {"bert": 24, "roberta": 64, "gpt2": 20}


def extract(path, tagged, batch_size=8, classifier=None):
    target, rows = data.load(tagged)
    return forward.extract(
        classifier or token.ADAPTER.load(path, ("tokens",), torch.float32),
        Candidate("x"),
        rows,
        target.labels,
        on=forward.accelerator("cpu"),
        batch_size=batch_size,
        advance=lambda _rows: None,
    )


def direct(path, tagged):
    """Word by word into tokens, sentence by sentence through the model, without padding: probabilities and features.

    A sentence that is too long is cut into pieces of as many tokens as go in.
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, add_prefix_space=True)
    probabilities, features = [], []
    for row in tagged.with_format("arrow")[:].to_pylist():
        ids, labelled = [], []
        for word, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
            at = 1 if tokenizer.convert_ids_to_tokens(pieces)[0] == "Ġ" else 0  # the space alone says nothing
            labelled += [len(ids) + at] if tag != -100 else []
            ids += pieces
        around = tokenizer("")["input_ids"]
        room = LIMIT[path.name] - len(around)
        for start in range(0, len(ids), room):
            piece = [*around[:1], *ids[start : start + room], *around[1:]]
            with torch.no_grad():
                out = model(torch.tensor([piece]), output_hidden_states=True)
            for place in labelled:
                if start <= place < start + room:
                    at = place - start + len(around[:1])
                    probabilities.append(out.logits[0, at].softmax(-1).numpy())
                    features.append(out.hidden_states[-1][0, at].numpy())
    return np.stack(probabilities), np.stack(features)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("name", CLASSES)
def test_equals_a_direct_loop_at_any_batch_size(token_checkpoints, tagged, name, batch_size):
    result = extract(token_checkpoints[name], tagged, batch_size)
    probabilities, features = direct(token_checkpoints[name], tagged)
    assert result.missing == {}
    assert result.probabilities.shape == (len(result.labels), CLASSES[name])
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-5)
    np.testing.assert_allclose(result.features, features, atol=1e-5)
