"""The operator's log: lines for people, or an object of JSON a line for what collects logs."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from arcface_api.names import LOG_FORMAT
from arcface_operator.settings import Settings

QUIET = ("kopf", "kubernetes")
"""They tell of every event or request."""


class JsonLines(logging.Formatter):
    """A record as one line, whatever its message holds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; `exception` has the traceback where there is one."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def start_log(settings: Settings) -> None:
    """Write the log to standard error as the administrator wants it."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(LOG_FORMAT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
