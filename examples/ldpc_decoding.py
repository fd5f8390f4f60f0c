"""
Decoding a low-density parity-check code
========================================

A code of 10,000 bits, with three checks for each bit and six bits for each check, is sent over a channel that flips bits at
random. Belief propagation decodes nearly every word as long as fewer bits are flipped than a threshold allows, and hardly any
word above it. The threshold is found independently by density evolution: belief propagation on an infinite tree, with a
population of messages.
"""

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

BITS, BIT_DEGREE, CHECK_DEGREE = 10_000, 3, 6
WORDS = 16
FLIPS = [0.070, 0.076, 0.080, 0.088, 0.092]


def random_code(rng):
    """Bits of each check: each bit in three checks, no bit twice in one."""
    sockets = rng.permutation(np.repeat(np.arange(BITS), BIT_DEGREE))
    while True:
        checks = np.sort(sockets.reshape(-1, CHECK_DEGREE), axis=1)
        twice = np.flatnonzero((checks[:, 1:] == checks[:, :-1]).any(axis=1))
        if not twice.size:
            return checks
        for check in twice:  # swap one of its sockets with any other
            here, there = check * CHECK_DEGREE + rng.integers(CHECK_DEGREE), rng.integers(sockets.size)
            sockets[[here, there]] = sockets[[there, here]]


def density_evolution(flip, rng, size=20_000, iterations=150):
    """Share of wrong messages on an infinite tree, all bits sent being 0."""
    channel = 0.5 * np.log((1 - flip) / flip)
    fields = channel * rng.choice([1, -1], p=[1 - flip, flip], size=size)
    for _ in range(iterations):
        others = np.tanh(fields[rng.integers(size, size=(CHECK_DEGREE - 1, size))])
        messages = np.arctanh(np.clip(others.prod(axis=0), -1 + 1e-15, 1 - 1e-15))
        own = channel * rng.choice([1, -1], p=[1 - flip, flip], size=size)
        fields = np.clip(own + messages[rng.integers(size, size=(BIT_DEGREE - 1, size))].sum(axis=0), -18, 18)
    return float((fields <= 0).mean())


def main():
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    bits = graph.add_variables("bits", fg.Spin(), shape=(BITS,))  # bit 0 is +1, bit 1 is -1
    graph.add_factors("checks", fg.Parity(), bits[random_code(rng)])
    decoder = fg.Inference(graph, fg.Flooding(), batch=WORDS, dtype="float32")

    # By the symmetry of code and channel all words are alike: the word of zeros stands for any.
    frames, errors, limits = [], [], []
    for flip in FLIPS:
        received = rng.choice([1, -1], p=[1 - flip, flip], size=(WORDS, BITS))
        decoder.set_prior(bits, 0.5 * np.log((1 - flip) / flip) * received)
        decoded = decoder.run(150, tolerance=0, check_every=5, stop="satisfied").mode(bits)
        frames.append((decoded != 1).any(axis=1).mean())
        errors.append((decoded != 1).mean())
        limits.append(density_evolution(flip, rng))
        wrong = f"{frames[-1]:6.1%} of frames and {errors[-1]:7.3%} of bits wrong"
        print(f"flip {flip:.3f}: {wrong}; on an infinite tree {limits[-1]:7.3%}")

    below = np.array(FLIPS) < 0.084
    assert (np.array(frames)[below] < 0.5).all(), "words below the threshold should be decoded"
    assert (np.array(frames)[~below] > 0.5).all(), "words above the threshold should not"
    assert (np.array(limits)[below] < 1e-3).all(), "density evolution should agree"
    assert (np.array(limits)[~below] > 1e-2).all(), "density evolution should agree"

    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(8.5, 4), layout="constrained")
    axes.plot(FLIPS, frames, "o-", label="wrong frames")
    axes.plot(FLIPS, errors, "s-", label="wrong bits")
    axes.plot(FLIPS, limits, "k:", label="wrong messages,\ndensity evolution")
    axes.axvline(0.084, color="0.7", label="threshold 0.084")
    axes.set(
        xlabel="probability that the channel flips a bit", ylabel="share that is wrong", title=f"(3,6) code of {BITS:,} bits"
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("ldpc_decoding.png", dpi=120)
    print("picture: ldpc_decoding.png")


if __name__ == "__main__":
    main()
