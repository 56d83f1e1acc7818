"""Score what a transformers Trainer predicts: ``python examples/score_trainer.py MODEL FILE``.

A model's own loss fails on labels that it has no class for, so `Trainer` is given a loss that ignores them: the target
may have more classes than the source. The file has the columns ``text`` and ``label``.
"""

import sys
import tempfile

import datasets
import evaluate
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction, Trainer, TrainingArguments

import hf_leep

leep = evaluate.load(hf_leep.metric_path("leep"))


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """LEEP of the source's logits ``[n, s]`` for the target labels ``[n]``."""
    logits = prediction.predictions
    logits = logits[0] if isinstance(logits, tuple) else logits  # some models return hidden states beside them
    return leep.compute(predictions=logits, references=prediction.label_ids, from_logits=True)


def main(model: str, file: str) -> None:
    """Print LEEP of a text classifier."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = datasets.load_dataset("csv", data_files=file, split="train").class_encode_column("label")
    rows = rows.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(model),
            TrainingArguments(folder, report_to="none", disable_tqdm=True, use_cpu=True),
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            compute_loss_func=lambda outputs, labels, num_items_in_batch=None: outputs.logits.new_zeros(()),
        )
        predicted = trainer.predict(rows)  # trainer.evaluate(rows) gives the same score as eval_leep
    print(f"LEEP {predicted.metrics['test_leep']:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
