"""Leave-one-out LEEP as an evaluate metric; the code is in hf_leep.evaluate_module.metric."""

import evaluate

import hf_leep.evaluate_module.metric  # From: hf-leep

_DESCRIPTION = """
Leave-one-out LEEP scores how well the predictions of a source classifier explain target labels that the empirical
predictor has not seen: LEEP with each example scored by all the others. Unlike LEEP, it does not rise with the number
of source classes.
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
    references (`list`/`array`/`tensor` of `int`): target labels `[n]`, integers of 0 or more, or booleans.
    from_logits (`bool`): whether predictions are logits, to which a softmax is applied. Defaults to False; it is
        never guessed.
    standard_error (`bool`): whether to add the standard error of the score. Defaults to False.
    allow_sorted (`bool`): whether each row may be in descending order. Defaults to False: 20 or more rows of at
        least 3 classes are refused if all are, since they look like scores that a pipeline has sorted.

Returns:
    leave_one_out_leep (`float`): the score in nats, at most 0; higher is better.
    standard_error (`float`): if requested, in the same unit.

Examples:

    >>> import evaluate, hf_leep
    >>> leave_one_out_leep = evaluate.load(hf_leep.metric_path("leave_one_out_leep"))
    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
    >>> results = leave_one_out_leep.compute(predictions=probabilities, references=[0, 0, 1, 1])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'leave_one_out_leep': -0.5883}

    A different source class for each example: LEEP would be 0, a perfect score, but no example helps to predict
    another.

    >>> one_hot = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    >>> results = leave_one_out_leep.compute(predictions=one_hot, references=[0, 0, 1, 1])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'leave_one_out_leep': -0.9808}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class LeaveOneOutLeep(hf_leep.evaluate_module.metric.ProbabilityMetric):
    """Leave-one-out LEEP, of hf_leep, after Nguyen et al., ICML 2020, equation (2)."""

    measure = "leave_one_out_leep"

    def _info(self) -> evaluate.MetricInfo:
        urls = ["https://proceedings.mlr.press/v119/nguyen20b.html"]
        return hf_leep.evaluate_module.metric.info(_DESCRIPTION, _CITATION, _KWARGS_DESCRIPTION, urls)
