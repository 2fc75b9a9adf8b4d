"""What the server did and met, as lines of JSON in data/logs/server.jsonl: for whoever runs it. Names stand there, PINs and levels never."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler

from pythonjsonlogger.json import JsonFormatter

from curriculum.home import Home

FILES, BYTES = 5, 5_000_000
"""The newest file and four before it, of some 25,000 lines each."""

log = logging.getLogger(__name__)


def begin(home: Home) -> logging.Handler:
    """Write down from now on what this program notes (INFO and worse) and what Streamlit complains of (WARNING and worse)."""
    folder = home.data / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("the journal can't be written: %s", error)
        return logging.NullHandler()
    handler = RotatingFileHandler(folder / "server.jsonl", maxBytes=BYTES, backupCount=FILES - 1, encoding="utf-8", delay=True)
    names = {"levelname": "level", "name": "from", "message": "what"}
    handler.setFormatter(JsonFormatter("{levelname}{name}{message}", style="{", rename_fields=names, timestamp="time"))
    for name, level in (("curriculum", logging.INFO), ("streamlit", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(min(level, logger.level or level))
        logger.addHandler(handler)
    return handler


def end(handler: logging.Handler) -> None:
    """Close what `begin` opened."""
    for name in ("curriculum", "streamlit"):
        logging.getLogger(name).removeHandler(handler)
    handler.close()
