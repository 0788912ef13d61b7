"""Times as Kubernetes writes them."""

from datetime import UTC, datetime


def parse_time(text: str | None) -> datetime | None:
    """Time of a field such as `creationTimestamp`; None where the field is absent."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
