"""Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008), and what they stand for here."""

from __future__ import annotations

import numpy as np

BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"
SKY, VERMILLION, YELLOW, BLACK = "#56b4e9", "#d55e00", "#f0e442", "#000000"

SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)  # of states, layers and curves, in this order
LINE, FACTOR, RIM, OBSERVED, PLATE, LEADER = "#a0a0a0", "#404040", "#404040", "#d0d0d0", "#f2f2f2", "#b0b0b0"


def of_state(number: int, states: int) -> str:
    """Colour of a state; where there are more states than colours, the same one for all."""
    return SERIES[number] if states <= len(SERIES) else BLUE


def shade(colour: str, share: float) -> str:
    """A colour mixed with white, of which ``share`` from 0 to 1 is the colour."""
    channels = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    mixed = np.rint(255 - float(np.clip(share, 0.0, 1.0)) * (255 - channels)).astype(int)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
