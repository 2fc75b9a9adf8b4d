"""The colours, and the mark that stands beside each, so that nothing is told by colour alone.

Okabe and Ito's colour-blind-safe colours.
"""

from __future__ import annotations

LEVEL_MARK = {"easy": "○", "medium": "◐", "hard": "●"}
LEVEL_COLOUR = {"easy": "#009E73", "medium": "#E69F00", "hard": "#D55E00"}
PEOPLE_COLOUR, MODEL_COLOUR = "#0072B2", "#CC79A7"

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8a8a8a", "#7F3C8D")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [10, 4], [4, 1], [1, 0], [6, 3])
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
GLYPHS = "●◆■▲✚▼▶◀"
"""Of up to eight lines in one chart: whoever doesn't see the colour tells them by dash and shape."""
FOR_COLOUR, AGAINST_COLOUR = "#0072B2", "#E69F00"
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a8a8a", "#B8A800")
CLASS_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""Eight colours and seven shapes: 56 classes before a pair comes again."""
