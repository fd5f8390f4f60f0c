"""
Image denoising with a Potts model
==================================

A quarter of the pixels of an image with four grey levels is replaced at random. In a Potts model neighbouring pixels prefer
to be equal. Belief propagation on the grid of pixels gives the marginals of each pixel, which are checked against a Gibbs
sampler on the same model.
"""

import matplotlib.pyplot as plt
import numpy as np

import factorgraph as fg

SIDE, LEVELS, NOISE, COUPLING = 96, 4, 0.25, 1.2


def picture():
    """Discs and bands of four grey levels."""
    row, column = np.mgrid[:SIDE, :SIDE] / SIDE
    image = np.zeros((SIDE, SIDE), dtype=int)
    image[(row - 0.35) ** 2 + (column - 0.4) ** 2 < 0.07] = 1
    image[(row - 0.65) ** 2 + (column - 0.65) ** 2 < 0.05] = 2
    image[np.abs(row - column - 0.35) < 0.06] = 3
    return image


def gibbs(prior, rng, sweeps=400, burn=100):
    """Marginals by a Gibbs sampler that draws the two colours of the checkerboard in turn."""
    state = np.argmax(prior, axis=-1)
    colour = np.indices(state.shape).sum(axis=0) % 2
    counts = np.zeros(prior.shape)
    for sweep in range(sweeps):
        for side in (0, 1):
            padded = np.pad(state, 1, constant_values=-1)
            neighbours = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
            weights = prior + COUPLING * (neighbours[..., None] == np.arange(LEVELS)).sum(axis=0)
            drawn = np.argmax(weights + rng.gumbel(size=weights.shape), axis=-1)
            state = np.where(colour == side, drawn, state)
        if sweep >= burn:
            counts += state[..., None] == np.arange(LEVELS)
    return counts / counts[0, 0].sum()


def main():
    rng = np.random.default_rng(0)
    image = picture()
    noisy = np.where(rng.random(image.shape) < NOISE, rng.integers(LEVELS, size=image.shape), image)
    right = 1 - NOISE + NOISE / LEVELS
    prior = np.where(noisy[..., None] == np.arange(LEVELS), np.log(right), np.log((1 - right) / (LEVELS - 1)))

    graph = fg.FactorGraph()
    pixels = graph.add_variables("pixels", fg.Categorical(LEVELS), shape=image.shape)
    graph.add_factors("down", fg.Potts(COUPLING), pixels[:-1], pixels[1:])
    graph.add_factors("across", fg.Potts(COUPLING), pixels[:, :-1], pixels[:, 1:])
    graph.set_prior(pixels, prior)
    result = fg.run(graph, damping="auto")
    marginals, restored = result.marginals(pixels), result.mode(pixels)

    sampled = gibbs(prior, rng)
    gap = np.abs(marginals - sampled).mean()
    errors = [(guess != image).mean() for guess in (noisy, restored)]
    print(f"{result}; wrong pixels: {errors[0]:.1%} before, {errors[1]:.1%} after; mean difference from sampling {gap:.4f}")
    assert errors[1] < 0.25 * errors[0]
    assert gap < 0.02

    figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
    for axes, shown, title in zip(panels, (image, noisy, restored), ("original", "noisy", "restored"), strict=True):
        axes.imshow(shown, cmap="gray", vmin=0, vmax=LEVELS - 1)
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig("image_denoising.png", dpi=120)
    print("picture: image_denoising.png")


if __name__ == "__main__":
    main()
