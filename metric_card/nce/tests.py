"""Cases whose values can be computed by hand, in the form that evaluate's Spaces use."""

import math

test_cases = [
    {  # the same top class for all: minus the entropy of two equal classes
        "predictions": [[0.3, 0.7], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]],
        "references": [0, 1, 1, 0],
        "result": {"nce": -math.log(2)},
    },
    {  # the top class determines every label
        "predictions": [[0.6, 0.4], [0.1, 0.9], [0.9, 0.1]],
        "references": [4, 7, 4],
        "result": {"nce": 0.0},
    },
    {  # top class 0 holds one of each label, top class 1 only label 1
        "predictions": [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]],
        "references": [0, 1, 1, 1],
        "result": {"nce": -math.log(2) / 2},
    },
]
