"""LogME as an evaluate metric; the code is in hf_leep.evaluate_module.metric."""

import evaluate

import hf_leep.evaluate_module.metric  # From: hf-leep

_DESCRIPTION = """
LogME (Log of Maximum Evidence) scores how well a Bayesian linear model on a source model's features explains the
labels of a target data set. It needs no classification head.
"""

_CITATION = """\
@inproceedings{you2021logme,
  title     = {{LogME}: Practical Assessment of Pre-trained Models for Transfer Learning},
  author    = {You, Kaichao and Liu, Yong and Wang, Jianmin and Long, Mingsheng},
  booktitle = {Proceedings of the 38th International Conference on Machine Learning},
  year      = {2021}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list`/`array`/`tensor` of `float`): features `[n, d]`: for each target example, the input of the
        source model's head.
    references (`list`/`array`/`tensor` of `int`): target labels `[n]`, integers of 0 or more, or booleans.
    standard_error (`bool`): whether to add the standard error of the score. Defaults to False.

Returns:
    logme (`float`): the score in nats per example and class; higher is better, positive values are normal.
    standard_error (`float`): if requested, in the same unit.

Examples:

    >>> import evaluate, hf_leep
    >>> logme = evaluate.load(hf_leep.metric_path("logme"))
    >>> features = [[1.0, 0.1], [0.9, 0.2], [0.2, 1.0], [0.1, 0.8], [0.8, 0.0], [0.0, 0.9]]
    >>> results = logme.compute(predictions=features, references=[0, 0, 1, 1, 0, 1])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'logme': 0.0083}

    Labels that are unrelated to the features:

    >>> results = logme.compute(predictions=features, references=[0, 1, 0, 1, 0, 1])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'logme': -1.003}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Logme(hf_leep.evaluate_module.metric.FeatureMetric):
    """LogME, You et al., ICML 2021, equation (2)."""

    measure = "logme"

    def _info(self) -> evaluate.MetricInfo:
        urls = ["https://proceedings.mlr.press/v139/you21b.html"]
        return hf_leep.evaluate_module.metric.info(_DESCRIPTION, _CITATION, _KWARGS_DESCRIPTION, urls)
