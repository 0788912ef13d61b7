"""The wall clock, for what people and the operator read; durations are measured with `time.monotonic`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Current time in UTC."""
    return datetime.now(UTC)
