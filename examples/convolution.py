"""
A convolutional network of one-bit weights
==========================================

The network reads images of digits of 8 x 8 pixels. It has 32 filters of 3 x 3, then 64 filters with stride 2, then ten
classes: 22,600 weights of -1 and 1, with signs as activations, trained by belief propagation. A filter sees 36 places of an
image. In the factor graph it is the dense layer at all these places, on a gathered view of the pixels. The example prints the
error beside that of a dense network, and draws the means of the filters' weights. White and black weights are certain.
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

    figure, axes = plt.subplots(4, 8, figsize=(7, 3.4), layout="constrained")
    for axis, filter_ in zip(axes.ravel(), model.weight_means_[0], strict=True):
        shown = axis.imshow(filter_[:9].reshape(3, 3), cmap="gray", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="mean of a weight")
    figure.suptitle("filters of the first layer")
    figure.savefig("convolution.png", dpi=120)
    print("picture: convolution.png")


if __name__ == "__main__":
    main()
