"""The colours, and the mark that stands beside each, so that nothing is told by colour alone.

Okabe and Ito's colour-blind-safe colours.
"""

from __future__ import annotations

LEVEL_MARK = {"easy": "○", "medium": "◐", "hard": "●"}
LEVEL_COLOUR = {"easy": "#009E73", "medium": "#E69F00", "hard": "#D55E00"}
PEOPLE_COLOUR, MODEL_COLOUR = "#0072B2", "#CC79A7"
