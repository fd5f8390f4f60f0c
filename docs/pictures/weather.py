"""The graph of the page on pictures."""

from overview import weather

import factorgraph as fg

fg.draw(*weather())
