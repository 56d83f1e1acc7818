"""Cases whose values can be computed by hand, in the form that evaluate's Spaces use."""

test_cases = [
    {  # total variance 4.25, 4 of it between the classes
        "predictions": [[0.0], [1.0], [4.0], [5.0]],
        "references": [0, 0, 1, 1],
        "result": {"h_score": 4 / 4.25},
    },
    {  # class means coincide
        "predictions": [[0.0], [1.0], [4.0], [5.0]],
        "references": [0, 1, 1, 0],
        "result": {"h_score": 0.0},
    },
    {  # the first feature is the class: t - 1 = 1
        "predictions": [[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]],
        "references": [0, 0, 1, 1],
        "result": {"h_score": 1.0},
    },
]
