"""The API server's audit log: who asked for what, in the order of the answers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    # A watch is logged when it begins, any other request when it is answered.
    "omitStages": ["RequestReceived", "Panic"],
}
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
ENDLESS = 1 << 20
"""Megabytes after which the API server starts a new file; 0 would stand for a hundred."""


@dataclass(frozen=True)
class AuditLog:
    """The log file."""

    path: Path
    users: tuple[str, ...] = ()
    """Whose requests it holds; empty: everybody's."""

    @property
    def flags(self) -> list[str]:
        """Flags of the API server that make it write this log, without ever starting a new file."""
        policy = self.path.with_suffix(".policy")
        policy.write_text(json.dumps({**POLICY, "rules": [{"level": "Metadata", "users": [*self.users]}]}))
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self.path}", f"--audit-log-maxsize={ENDLESS}"]

    def size(self) -> int:
        """Where the log ends now: what `requests` takes as a beginning."""
        return self.path.stat().st_size if self.path.exists() else 0

    def requests(self, since: int = 0, user: str | None = None) -> list[dict[str, Any]]:
        """One dict for each request that was answered after `since`, of one user or of all."""
        return [found for found in self.read(since) if user is None or found["user"] == user]

    def read(self, since: int) -> Iterator[dict[str, Any]]:
        """All requests in the file from an offset on; a line that is still being written is left out."""
        if not self.path.exists():
            return
        with self.path.open("rb") as log:
            log.seek(since)
            for line in log:
                if line.endswith(b"\n") and (found := request(json.loads(line))) is not None:
                    yield found


def request(event: dict[str, Any]) -> dict[str, Any] | None:
    """What a test asks about a request; None for the second event of a watch."""
    if event["verb"] == "watch" and event["stage"] == "ResponseComplete":
        return None
    target = event.get("objectRef", {})
    return {
        "user": event["user"]["username"],
        "verb": event["verb"],
        "is_write": event["verb"] in WRITES,
        **{key: target.get(key, "") for key in ("apiGroup", "resource", "subresource", "namespace", "name")},
        "code": event.get("responseStatus", {}).get("code", 0),
        "reason": event.get("annotations", {}).get("authorization.k8s.io/reason", ""),
        "uri": event["requestURI"],
        "agent": event.get("userAgent", ""),
        "received": event["requestReceivedTimestamp"],
        "at": event["stageTimestamp"],
    }
