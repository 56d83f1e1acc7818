"""LEEP as an evaluate metric; the code is in hf_leep.evaluate_module.metric."""

import evaluate

import hf_leep.evaluate_module.metric  # From: hf-leep

_DESCRIPTION = """
LEEP (Log Expected Empirical Prediction) scores how well the predictions of a source classifier explain the labels of
a target data set, from one forward pass and without training. It helps to choose the checkpoint to fine-tune.
"""

_CITATION = """\
@inproceedings{nguyen2020leep,
  title     = {{LEEP}: A New Measure to Evaluate Transferability of Learned Representations},
  author    = {Nguyen, Cuong V. and Hassner, Tal and Seeger, Matthias and Archambeau, Cedric},
  booktitle = {Proceedings of the 37th International Conference on Machine Learning},
  year      = {2020}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list`/`array`/`tensor` of `float`): source probabilities `[n, s]`: for each target example, one
        probability for each class of the source model. Rows sum to 1 (±0.001;
        ±0.02 in half precision). Outputs of a classification pipeline of transformers with `top_k=None`, lists of
        `{"label": ..., "score": ...}`, are placed by label.
    references (`list`/`array`/`tensor` of `int`): target labels `[n]`, integers of 0 or more, or booleans. They
        need not be related to the source classes.
    from_logits (`bool`): whether predictions are logits, to which a softmax is applied. Defaults to False; it is
        never guessed.
    standard_error (`bool`): whether to add the standard error of LEEP. Defaults to False.
    leave_one_out (`bool`): whether to add leave-one-out LEEP, which scores each example by all the others, and
        so does not rise with the number of source classes. Defaults to False.
    allow_sorted (`bool`): whether each row may be in descending order. Defaults to False: 20 or more rows of at
        least 3 classes are refused if all are, since they look like scores that a pipeline has sorted.

Returns:
    leep (`float`): the score in nats, at most 0; higher is better.
    standard_error (`float`): if requested, in nats.
    leave_one_out_leep (`float`): if requested, in nats.

Examples:

    Probabilities over two source classes for four target examples of two target classes:

    >>> import evaluate, hf_leep
    >>> leep = evaluate.load(hf_leep.metric_path("leep"))
    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
    >>> results = leep.compute(predictions=probabilities, references=[0, 0, 1, 1])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'leep': -0.384}

    The same with the standard error, which is large since four examples without an error say little about how often
    there would be one, and leave-one-out LEEP, which is lower on so few examples.

    >>> results = leep.compute(
    ...     predictions=probabilities, references=[0, 0, 1, 1], standard_error=True, leave_one_out=True
    ... )
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'leep': -0.384, 'standard_error': 1.0348, 'leave_one_out_leep': -0.5883}

    Logits, added in batches:

    >>> for logits, labels in [([[2.0, -1.0], [0.5, 0.0]], [0, 0]), ([[-1.0, 1.0], [0.0, 3.0]], [1, 1])]:
    ...     leep.add_batch(predictions=logits, references=labels)
    >>> results = leep.compute(from_logits=True)
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'leep': -0.2914}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Leep(hf_leep.evaluate_module.metric.LeepMetric):
    """LEEP, Nguyen et al., ICML 2020, equation (2)."""

    measure = "leep"

    def _info(self) -> evaluate.MetricInfo:
        urls = ["https://proceedings.mlr.press/v119/nguyen20b.html"]
        return hf_leep.evaluate_module.metric.info(_DESCRIPTION, _CITATION, _KWARGS_DESCRIPTION, urls)
