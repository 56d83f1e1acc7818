"""Cases whose values can be computed by hand, in the form that evaluate's Spaces use."""

import math

test_cases = [
    {  # a feature of zeros: for both classes the model is noise of precision n / sum(y^2) = 2
        "predictions": [[0.0], [0.0], [0.0], [0.0]],
        "references": [0, 0, 1, 1],
        "result": {"logme": 0.5 * (math.log(2) - 1 - math.log(2 * math.pi))},
    },
    {  # features orthogonal to both classes: the same
        "predictions": [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]],
        "references": [0, 0, 1, 1],
        "result": {"logme": 0.5 * (math.log(2) - 1 - math.log(2 * math.pi))},
    },
]
