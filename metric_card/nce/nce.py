"""NCE as an evaluate metric; the code is in hf_leep.evaluate_module.metric."""

import evaluate

import hf_leep.evaluate_module.metric  # From: hf-leep

_DESCRIPTION = """
NCE (Negative Conditional Entropy) scores how well the top prediction of a source classifier explains the labels of a
target data set, from one forward pass and without training.
"""

_CITATION = """\
@inproceedings{tran2019transferability,
  title     = {Transferability and Hardness of Supervised Classification Tasks},
  author    = {Tran, Anh T. and Nguyen, Cuong V. and Hassner, Tal},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year      = {2019}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list`/`array`/`tensor` of `float`): source probabilities `[n, s]`: for each target example, one
        probability for each class of the source model. Rows sum to 1 (±0.001;
        ±0.02 in half precision). Outputs of a classification pipeline of transformers with `top_k=None`, lists of
        `{"label": ..., "score": ...}`, are placed by label.
        Or the top predictions themselves, `[n]`: integers or strings, as `evaluate.evaluator` passes them.
    references (`list`/`array`/`tensor` of `int`): target labels `[n]`, integers of 0 or more, or booleans.
    from_logits (`bool`): whether predictions are logits, to which a softmax is applied. Defaults to False; it is
        never guessed.
    standard_error (`bool`): whether to add the standard error of the score. Defaults to False.
    allow_sorted (`bool`): whether each row may be in descending order. Defaults to False: 20 or more rows of at
        least 3 classes are refused if all are, since they look like scores that a pipeline has sorted.

Returns:
    nce (`float`): the score in nats, from -log t to 0 for t target classes; higher is better.
    standard_error (`float`): if requested, in the same unit.

Examples:

    >>> import evaluate, hf_leep
    >>> nce = evaluate.load(hf_leep.metric_path("nce"))
    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
    >>> nce.compute(predictions=probabilities, references=[0, 0, 1, 1])
    {'nce': 0.0}

    One label changed, so that one of the two top predictions no longer determines the label:

    >>> results = nce.compute(predictions=probabilities, references=[0, 1, 1, 1], standard_error=True)
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'nce': -0.3466, 'standard_error': 0.6575}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Nce(hf_leep.evaluate_module.metric.TopPredictionMetric):
    """NCE, Tran et al., ICCV 2019."""

    measure = "nce"

    def _info(self) -> evaluate.MetricInfo:
        urls = ["https://arxiv.org/abs/1908.08142"]
        return hf_leep.evaluate_module.metric.info(_DESCRIPTION, _CITATION, _KWARGS_DESCRIPTION, urls)
