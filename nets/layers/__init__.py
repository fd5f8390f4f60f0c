"""Layers of which networks are composed: each says what it adds to a factor graph."""

from nets.layers.architecture import Architecture, architecture_of
from nets.layers.base import Image, Layer, Shape, Weighted
from nets.layers.convolution import Convolution
from nets.layers.dense import Dense
from nets.layers.notation import layer_of, parse_layer
from nets.layers.pool import Pool

__all__ = [
    "Architecture",
    "Convolution",
    "Dense",
    "Image",
    "Layer",
    "Pool",
    "Shape",
    "Weighted",
    "architecture_of",
    "layer_of",
    "parse_layer",
]
