"""H-score as an evaluate metric; the code is in hf_leep.evaluate_module.metric."""

import evaluate

import hf_leep.evaluate_module.metric  # From: hf-leep

_DESCRIPTION = """
H-score is the share of the variance of a source model's features that lies between the classes of a target data set:
how well a linear head on these features could separate the classes.
"""

_CITATION = """\
@inproceedings{bao2019information,
  title     = {An Information-Theoretic Approach to Transferability in Task Transfer Learning},
  author    = {Bao, Yajie and Li, Yang and Huang, Shao-Lun and Zhang, Lin and Zheng, Lizhong and Zamir, Amir and
               Guibas, Leonidas},
  booktitle = {IEEE International Conference on Image Processing},
  year      = {2019}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list`/`array`/`tensor` of `float`): features `[n, d]`: for each target example, the input of the
        source model's head.
    references (`list`/`array`/`tensor` of `int`): target labels `[n]`, integers of 0 or more, or booleans.
    standard_error (`bool`): whether to add the standard error of the score. Defaults to False.

Returns:
    h_score (`float`): the score, from 0 to the smaller of t - 1 and d; higher is better.
    standard_error (`float`): if requested, in the same unit.

Examples:

    >>> import evaluate, hf_leep
    >>> h_score = evaluate.load(hf_leep.metric_path("h_score"))
    >>> features = [[0.0], [1.0], [4.0], [5.0]]
    >>> results = h_score.compute(predictions=features, references=[0, 0, 1, 1])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'h_score': 0.9412}

    Classes with the same mean:

    >>> results = h_score.compute(predictions=features, references=[0, 1, 1, 0])
    >>> print({name: round(value, 4) for name, value in results.items()})
    {'h_score': 0.0}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class HScore(hf_leep.evaluate_module.metric.FeatureMetric):
    """H-score, Bao et al., ICIP 2019."""

    measure = "h_score"

    def _info(self) -> evaluate.MetricInfo:
        urls = ["https://ieeexplore.ieee.org/document/8803726"]
        return hf_leep.evaluate_module.metric.info(_DESCRIPTION, _CITATION, _KWARGS_DESCRIPTION, urls)
