"""The published experiments, each to be repeated by ``nets reproduce NAME``; figures of Lucibello et al. 2022 beside ours."""

from nets.experiments.base import Case, Experiment
from nets.experiments.published import EXPERIMENTS
from nets.experiments.runner import reproduce

__all__ = ["EXPERIMENTS", "Case", "Experiment", "reproduce"]
