"""The colours, and the mark that stands beside each, so that nothing is told by colour alone.

Okabe and Ito's colour-blind-safe colours.
"""

from __future__ import annotations

LEVEL_MARK = {"easy": "○", "medium": "◐", "hard": "●"}
LEVEL_COLOUR = {"easy": "#009E73", "medium": "#E69F00", "hard": "#D55E00"}
PEOPLE_COLOUR, MODEL_COLOUR = "#0072B2", "#CC79A7"
FOR_COLOUR, AGAINST_COLOUR = "#0072B2", "#E69F00"
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a8a8a", "#B8A800")
CLASS_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""Eight colours and seven shapes: 56 classes before a pair comes again."""
