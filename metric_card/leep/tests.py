"""Cases whose values can be computed by hand, in the form that evaluate's Spaces use."""

import math

test_cases = [
    {  # predictions without information: minus the entropy of two equal classes
        "predictions": [[0.3, 0.7], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]],
        "references": [0, 1, 1, 0],
        "result": {"leep": -math.log(2)},
    },
    {  # one source class per target class determines every label
        "predictions": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
        "references": [4, 7, 4],
        "result": {"leep": 0.0},
    },
    {  # P(0|z) = (0.75, 0.25) and P(1|z) = (0.25, 0.75); every example has the likelihood 0.75² + 0.25²
        "predictions": [[0.75, 0.25], [0.25, 0.75]],
        "references": [0, 1],
        "result": {"leep": math.log(0.625)},
    },
]
