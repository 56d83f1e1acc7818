"""The measures: pure functions that turn arrays into a score. Importing this module needs nothing but numpy.

>>> from hf_leep import measures
>>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]]
>>> round(measures.leep(probabilities, [0, 0, 1, 1]), 4)
-0.384
>>> measures.nce(probabilities, [0, 0, 1, 1])
0.0
"""

from hf_leep.measures.gbc import gbc
from hf_leep.measures.h_score import h_score
from hf_leep.measures.knn import knn
from hf_leep.measures.leave_one_out_leep import leave_one_out_leep
from hf_leep.measures.leep import leep
from hf_leep.measures.lfc import lfc
from hf_leep.measures.linear_probe import linear_probe
from hf_leep.measures.logme import logme, logme_regression
from hf_leep.measures.measure import Measure
from hf_leep.measures.n_leep import n_leep
from hf_leep.measures.nce import nce
from hf_leep.measures.pactran_dirichlet import pactran_dirichlet
from hf_leep.measures.pactran_gaussian import pactran_gaussian
from hf_leep.measures.parc import parc
from hf_leep.measures.registry import MEASURES, find, standard_error
from hf_leep.measures.regularised_h_score import regularised_h_score
from hf_leep.measures.ridge import ridge
from hf_leep.measures.ridge_log_likelihood import ridge_log_likelihood
from hf_leep.measures.sfda import sfda
from hf_leep.measures.stable_rank import stable_rank
from hf_leep.measures.transrate import transrate

SCORE_VERSION = 15  # part of the name of every stored score: raise it when scores, warnings or their meaning change

__all__ = [
    "MEASURES",
    "SCORE_VERSION",
    "Measure",
    "find",
    "gbc",
    "h_score",
    "knn",
    "leave_one_out_leep",
    "leep",
    "lfc",
    "linear_probe",
    "logme",
    "logme_regression",
    "n_leep",
    "nce",
    "pactran_dirichlet",
    "pactran_gaussian",
    "parc",
    "regularised_h_score",
    "ridge",
    "ridge_log_likelihood",
    "sfda",
    "stable_rank",
    "standard_error",
    "transrate",
]
