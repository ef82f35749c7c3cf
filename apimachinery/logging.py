"""Structured logs: a constant message, then ``key=value`` fields.

A constant message can be searched for and counted; what varies is in the fields. ``bind`` makes a logger that
carries fields, such as the key of the object being reconciled, into every line.

Lines go to stderr: ``2026-11-23T14:42:00.123Z INFO  deployment: Scaled up replica set deployment=default/web to=3``.
"""

import json
import logging
import sys
import time
from typing import Any

_ROOT = "kubeto"
_DEBUG_VERBOSITY = 4


class Logger:
    """A named logger. Fields whose value is None are left out."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: dict[str, Any]) -> None:
        self._logger = logger
        self._fields = fields

    def bind(self, **fields: Any) -> "Logger":
        """The same logger with these fields in every line."""
        return Logger(self._logger, {**self._fields, **fields})

    def enabled(self, level: int) -> bool:
        return self._logger.isEnabledFor(level)

    def debug(self, message: str, **fields: Any) -> None:
        """Shown from ``--v=4`` on."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._log(logging.ERROR, message, fields)

    def exception(self, message: str, **fields: Any) -> None:
        """An error line followed by the traceback of the exception being handled."""
        self._log(logging.ERROR, message, fields, exc_info=True)

    def _log(self, level: int, message: str, fields: dict[str, Any], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            text = message + "".join(
                f" {k}={_quote(v)}" for k, v in {**self._fields, **fields}.items() if v is not None
            )
            self._logger.log(level, "%s", text, exc_info=exc_info)


def get_logger(name: str) -> Logger:
    """The logger of a module: pass ``__name__``."""
    return Logger(logging.getLogger(f"{_ROOT}.{name}"), {})


def setup(verbosity: int = 2) -> None:
    """Send log lines to stderr. ``verbosity`` is upstream's ``--v``: 0 = warnings, 1-3 = info, 4 and up = debug."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(_level(verbosity))
    logging.getLogger().handlers[:] = [handler]


def _level(verbosity: int) -> int:
    if verbosity >= _DEBUG_VERBOSITY:
        return logging.DEBUG
    return logging.INFO if verbosity >= 1 else logging.WARNING


def _quote(value: Any) -> str:
    if type(value) is tuple:  # an object key
        value = "/".join(str(v) for v in value if v)
    text = str(value) if not isinstance(value, dict | list) else json.dumps(value, default=str)
    plain = text and not any(c.isspace() or c in '"=' for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        source = record.name.rsplit(".", 1)[-1]
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname:<7} {source}: {record.getMessage()}"
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line
