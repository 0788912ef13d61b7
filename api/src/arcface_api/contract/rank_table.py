"""The rank table (hccl.json) of MindX, as the operator writes it and as ranks read it.

Version 1.0, and 1.2 for Atlas A3 super pods. All scalars are strings. A reader takes what others write by hand: what it
does not look at may be absent, what it does not know is passed over.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class _Entry(BaseModel):
    # Tables written by hand have numbers for texts.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, coerce_numbers_to_str=True)


class RankedDevice(_Entry):
    """A card and the rank that computes on it."""

    device_id: str = ""
    """Number of the card on its node."""
    device_ip: str | None = None
    """Address of its network port."""
    super_device_id: str | None = None
    """Number of the card in its super pod."""
    rank_id: str
    """The rank."""
    container_ip: str | None = None
    """Address of its pod where that is not the server's `container_ip`: an addition of ours, which HCCL passes over."""


class Server(_Entry):
    """A node with cards of the job."""

    server_id: str = ""
    """Identity of the node; older tables written for a single node have the pod's."""
    host_ip: str | None = None
    """Address of the node, in tables of others: HCCL takes it for a wish to talk over the host's network card."""
    container_ip: str | None = None
    """Address of the pod of its first rank; tables written by hand have none."""
    device: list[RankedDevice] = []
    """Its cards, in the order of their ranks."""


class ServerReference(_Entry):
    """A server of a super pod."""

    server_id: str
    """Its identity in `server_list`."""


class SuperPod(_Entry):
    """Servers whose cards share a bus."""

    super_pod_id: str = ""
    """Number of the logical super pod."""
    server_list: list[ServerReference] = []
    """Its servers."""


class RankTableDocument(_Entry):
    """The whole file."""

    status: Literal["initializing", "completed"] = "initializing"
    """Whether all ranks are in it."""
    version: str | None = None
    """1.0, or 1.2 with super pods."""
    attempt: str | None = None
    """Attempt of the job that its pods belong to: an addition of ours, which HCCL passes over."""
    launch: str | None = None
    """Launch of its ranks for which a pod of it was made anew; absent where none was. An addition of ours, too."""
    server_count: str | None = None
    """Number of servers."""
    server_list: list[Server] | None = None
    """The servers in the order of their ranks."""
    super_pod_list: list[SuperPod] | None = None
    """The super pods of version 1.2."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The table in a file; None where it is no table (yet)."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def to_json(self) -> str:
        """Compact JSON without what is absent."""
        return self.model_dump_json(exclude_none=True)

    def has_rank(self, rank: int, address: str, attempt: int | None = None, launch: int | None = None) -> bool:
        """Whether the table is complete, of this attempt or of none, and lists a rank at a pod's address or at none.

        In its node's network a pod has the address of the one before it, so that the address alone tells no attempt.
        With a launch for which a pod was made anew, the table must be that launch's own.
        """
        is_current = attempt is None or self.attempt in {None, str(attempt)}
        is_current = is_current and (launch is None or self.launch == str(launch))
        return (
            self.status == "completed"
            and is_current
            and any(
                device.rank_id == str(rank) and (device.container_ip or server.container_ip) in {None, address}
                for server in self.server_list or ()
                for device in server.device
            )
        )

    def super_pod_of(self, rank: int) -> str | None:
        """Number of the logical super pod of a rank's card; None without super pods."""
        holds = (each.server_id for each in self.server_list or () if any(d.rank_id == str(rank) for d in each.device))
        server = ServerReference(server_id=next(holds, ""))
        return next((pod.super_pod_id for pod in self.super_pod_list or () if server in pod.server_list), None)


INITIALIZING = RankTableDocument().to_json()
"""The table while ranks are missing."""
