"""Cases whose values can be computed by hand, in the form that evaluate's Spaces use."""

import math

test_cases = [
    {  # no source class occurs twice, so only the class prior counts: (n_y - 1 + 1/t)/n = 1.5/4
        "predictions": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        "references": [0, 0, 1, 1],
        "result": {"leave_one_out_leep": math.log(1.5 / 4)},
    },
    {  # the other example of each column has the same label; the smallest prior weight a = 1e-6: (1 + a 1.5/4)/(1 + a)
        "predictions": [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]],
        "references": [0, 0, 1, 1],
        "result": {"leave_one_out_leep": math.log((1 + 1e-6 * 1.5 / 4) / (1 + 1e-6))},
    },
]
