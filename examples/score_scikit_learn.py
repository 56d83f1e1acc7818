"""Score scikit-learn classifiers: the columns of predict_proba are the source classes, whatever their names."""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from hf_leep import measures


def main() -> None:
    """Which source helps to tell ten digits apart: one that knows five of them, or one that knows two groups?"""
    images, digits = load_digits(return_X_y=True)
    train, target = slice(0, 900), slice(900, None)
    names = ["even" if digit % 2 == 0 else "odd" for digit in digits]
    for name, classes in (("digit modulo 5", digits % 5), ("even or odd", names)):
        source = LogisticRegression(max_iter=500).fit(images[train] / 16, classes[train])
        probabilities = source.predict_proba(images[target] / 16)  # [n, s]; never decision_function
        score = measures.leave_one_out_leep(probabilities, digits[target])
        nce = measures.nce(source.predict(images[target] / 16), digits[target])  # from predictions alone
        print(f"{name:<14} leave-one-out LEEP {score:.3f}   NCE {nce:.3f}")


if __name__ == "__main__":
    main()
