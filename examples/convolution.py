"""
A convolutional network of one-bit weights and activations, trained by belief propagation.

    python examples/convolution.py

Images of 8 x 8 digits, 32 filters of 3 x 3, then 64 of them with stride 2, then the ten classes: 22,600 weights of +-1. A
filter sees 36 places of an image; in the factor graph it is the dense layer at all of them, on a gathered view of the pixels.
Prints the error beside that of a dense network, and draws the means of the filters' weights: white and black ones are certain.
"""

import matplotlib.pyplot as plt
import numpy as np

from nets import BPClassifier, Convolution, Dense, load_dataset

NETWORKS = {
    "dense 101-101": [Dense(101), Dense(101)],
    "32 filters 3 x 3, 64 with stride 2": [Convolution(32, 3), Convolution(64, 3, stride=2)],
}


def main(seeds=2):
    data = load_dataset("digits")
    errors = {}
    print(f"{'test error, percent':<38}point-wise   Bayesian   weights")
    for name, layers in NETWORKS.items():
        found = []
        for seed in range(seeds):
            model = BPClassifier(layers=layers, random_state=seed).fit(data.X_train, data.y_train)
            found.append(model.evaluate(data.X_test, data.y_test))
        point, bayesian = (np.mean([one[key] for one in found]) for key in ("test_error", "test_error_bayes"))
        weights = sum(mean.size for mean in model.weight_means_)
        print(f"{name:<38}{point:10.2f} {bayesian:10.2f} {weights:9,}")
        errors[name] = bayesian
    assert max(errors.values()) < 4.0

    figure, axes = plt.subplots(4, 8, figsize=(6, 3.2))
    for axis, filter_ in zip(axes.ravel(), model.weight_means_[0], strict=True):
        axis.imshow(filter_[:9].reshape(3, 3), cmap="gray", vmin=-1, vmax=1)
        axis.axis("off")
    figure.savefig("convolution.png", dpi=120)
    print("picture: convolution.png")


if __name__ == "__main__":
    main()
