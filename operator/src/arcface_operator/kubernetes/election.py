"""Leader election by a Lease of coordination.k8s.io: of several replicas one acts.

The protocol is that of Kubernetes' own controllers. Another replica takes over when a Lease has not changed for its
duration by the other's own clock, so that clocks need not agree; a leader that leaves gives its Lease back at once.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from arcface_api.errors import ArcFaceError
from arcface_operator.kubernetes.client import CONFLICT, Api, ApiError, Unreachable, collection
from arcface_operator.manifests.metadata import Manifest

LOG = logging.getLogger(__name__)
LEASE_NAME = "arcface-operator"
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15, 10, 2
"""The others take over 15 s after the last sign of the leader, which gives up after 10 s without one of its own."""
TRY_SECONDS = 3.0
"""For one try, which a connection that nobody answers on must not make the last one."""
API_VERSION = "coordination.k8s.io/v1"


@dataclass
class Candidate:
    """One replica in the election."""

    api: Api
    """With connections and slots of its own: the thousands of requests of a large gang hold up no renewal."""
    namespace: str
    identity: str
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    observed: tuple[str, str] = ("", "")
    """Holder and time of renewal, as last read."""
    observed_at: float = field(default=0.0)
    """By our clock, when they last changed."""

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader, then work until the work ends.

        Raises:
            ArcFaceError: when the leadership is lost; the work has been cancelled by then.
        """
        while not await self._try_to_hold():
            await asyncio.sleep(RETRY_SECONDS)
        LOG.info("%s leads", self.identity)
        working = asyncio.ensure_future(work())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, renewing):
                task.cancel()
            outcomes = await asyncio.gather(working, renewing, return_exceptions=True)
            await self._release()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _renew(self) -> None:
        """Renew the Lease until that has failed for too long; it counts from the moment it was asked for."""
        renewed_at = self.clock()
        while (left := renewed_at + RENEW_SECONDS - self.clock()) > 0:
            await asyncio.sleep(min(RETRY_SECONDS, left))
            asked_at = self.clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(TRY_SECONDS, max(0.0, renewed_at + RENEW_SECONDS - asked_at))):
                    if await self._try_to_hold():
                        renewed_at = asked_at
        raise ArcFaceError(f"the leadership is lost: the Lease could not be renewed for {RENEW_SECONDS} s")

    async def _try_to_hold(self) -> bool:
        """Take or renew the Lease if it is free or ours; False also where nobody could be asked."""
        try:
            lease = await self.api.find(self._path)
            if lease is None:
                await self.api.create(self._record({"metadata": {"name": LEASE_NAME, "namespace": self.namespace}}))
            elif self._may_take(lease.get("spec") or {}):
                await self.api.replace(self._path, self._record(lease))
            else:
                return False
        except (ApiError, Unreachable) as error:
            if not (isinstance(error, ApiError) and error.status == CONFLICT):
                LOG.warning("lease: %s", error)
            return False
        return True

    def _may_take(self, spec: Manifest) -> bool:
        """Whether the Lease is ours, given back, or has run out."""
        record = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
        if record != self.observed:
            self.observed, self.observed_at = record, self.clock()
        has_run_out = self.clock() - self.observed_at > (spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        return record[0] in {"", self.identity} or has_run_out

    def _record(self, lease: Manifest) -> Manifest:
        """The Lease with us as its holder."""
        spec, stamp = lease.get("spec") or {}, self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_ours = spec.get("holderIdentity") == self.identity
        ours = {"holderIdentity": self.identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": stamp}
        if not is_ours:
            ours |= {"acquireTime": stamp, "leaseTransitions": (spec.get("leaseTransitions") or 0) + bool(spec)}
        return {"apiVersion": API_VERSION, "kind": "Lease", **lease, "spec": {**spec, **ours}}

    async def _release(self) -> None:
        """Leave the Lease to whoever comes first, if it is still ours."""
        with contextlib.suppress(ApiError, Unreachable):
            lease = await self.api.get(self._path)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") == self.identity:
                given_back = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
                await self.api.replace(self._path, {**lease, "spec": given_back})

    @property
    def _path(self) -> str:
        """Path of the Lease."""
        return f"{collection(API_VERSION, 'leases', self.namespace)}/{LEASE_NAME}"
