"""Train two small BERT classifiers to rank: ``python examples/train_text_sources.py SENTENCES OUTPUT``.

SENTENCES is a data set with a text and a label column and the splits train and validation. OUTPUT gets two folders,
``good`` and ``barely-trained``, each a checkpoint like any other, with a WordPiece tokenizer made from the sentences.
"""

import sys
from pathlib import Path

import datasets
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def main(sentences: str, output: str) -> None:
    """Make the tokenizer and both checkpoints."""
    logging.disable_progress_bar()
    data = datasets.load_dataset(sentences)
    tokenizer = make_tokenizer(data["train"]["text"])
    for name, epochs in (("good", 3), ("barely-trained", 0.02)):
        model = train(tokenizer, data["train"], epochs)
        print(f"{name}: accuracy {100 * accuracy(model, tokenizer, data['validation']):.1f} % on validation")
        model.save_pretrained(Path(output, name))
        tokenizer.save_pretrained(Path(output, name))


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Learn a WordPiece vocabulary; single sentences and pairs get BERT's special tokens."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=6000, special_tokens=SPECIAL))
    ends = [(token, pieces.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    pieces.post_processor = processors.BertProcessing(*ends)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=64, **names)


def train(tokenizer: PreTrainedTokenizerFast, data: datasets.Dataset, epochs: float) -> BertForSequenceClassification:
    """Train from scratch, with a fixed seed."""
    torch.manual_seed(0)
    names = data.features["label"].names
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=64,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)
    steps = max(1, int(epochs * len(data) / 64))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * (1 - step / steps)
        rows = data[torch.randint(len(data), (64,)).tolist()]
        batch = tokenizer(rows["text"], padding=True, truncation=True, return_tensors="pt")
        optimizer.zero_grad()
        model(**batch, labels=torch.tensor(rows["label"])).loss.backward()
        optimizer.step()
    return model.eval()


def accuracy(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, data: datasets.Dataset
) -> float:
    """Compute the share of the rows that the model classifies correctly."""
    right = 0
    with torch.inference_mode():
        for rows in data.iter(64):
            batch = tokenizer(rows["text"], padding=True, truncation=True, return_tensors="pt")
            right += int((model(**batch).logits.argmax(-1) == torch.tensor(rows["label"])).sum())
    return right / len(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
