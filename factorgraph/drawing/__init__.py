"""Pictures of graphs and of runs, for matplotlib and, small, for notebooks."""

from factorgraph.drawing.draw import draw

__all__ = ["draw"]
