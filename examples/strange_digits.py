"""
Which rows belong to no known class?
====================================

Networks learn eight of the ten digits and are then asked about all ten. The doubt of a prediction tells which rows belong to
a digit that was never shown. The area under the ROC curve is how often a row of an unknown digit is in more doubt than a row
of a known digit: 0.5 by chance, and 1 without an error. It is printed for the entropy of the label and for the two parts of
this entropy. The epistemic part is what more data would take away, and the aleatoric part is the rest.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from nets import BPClassifier

PARTS = ("total", "aleatoric", "epistemic")


def doubts(strange):
    """Train without some digits: uncertainties of other rows, which of them are strange, and the error on the rest."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, random_state=0, stratify=y)
    shown, unknown = ~np.isin(y_train, strange), np.isin(y_test, strange)
    model = BPClassifier((101,), random_state=0).fit(X_train[shown], y_train[shown])
    return model.uncertainty(X_test), unknown, 1 - model.score(X_test[~unknown], y_test[~unknown])


def main():
    print("never shown   error %" + "".join(f"{part:>11}" for part in PARTS))
    areas = []
    for strange in np.arange(10).reshape(5, 2)[::2]:
        found, unknown, error = doubts(strange)
        areas.append([roc_auc_score(unknown, found[part]) for part in PARTS])
        print(f"{strange[0]} and {strange[1]} {100 * error:14.1f}" + "".join(f"{area:11.3f}" for area in areas[-1]))
    print("mean" + " " * 17 + "".join(f"{area:11.3f}" for area in np.mean(areas, axis=0)))
    assert np.mean(areas, axis=0)[0] > 0.9

    bins = np.linspace(0, np.log(8), 30)
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.hist([found["total"][~unknown], found["total"][unknown]], bins, density=True, label=["0 to 7", "8 and 9, never shown"])
    axes.set(xlabel="entropy of the label (nats)", ylabel="share of the rows for each nat")
    axes.legend()
    figure.savefig("strange_digits.png", dpi=120)
    print("picture: strange_digits.png")


if __name__ == "__main__":
    main()
