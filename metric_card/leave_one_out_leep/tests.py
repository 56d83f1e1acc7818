"""Cases with values that can be worked out by hand, in the form that evaluate's Spaces use."""

import math

test_cases = [
    {  # no source class is seen twice: only the class prior is left, (n_y - 1 + 1/t)/n = 1.5/4
        "predictions": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        "references": [0, 0, 1, 1],
        "result": {"leave_one_out_leep": math.log(1.5 / 4)},
    },
    {  # each other example of the column agrees; the smallest prior weight a = 1e-6: (1 + a 1.5/4)/(1 + a)
        "predictions": [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]],
        "references": [0, 0, 1, 1],
        "result": {"leave_one_out_leep": math.log((1 + 1e-6 * 1.5 / 4) / (1 + 1e-6))},
    },
]
