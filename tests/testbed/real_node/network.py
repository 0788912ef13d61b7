"""A private network namespace for a control plane and a node, joined to this machine by a veth pair.

    this machine 10.N.0.1 ── veth ── 10.N.0.2 API server, kubelet ── bridge cni0 10.N.1.1 ── pods 10.N.1.0/24

The namespace has no name and no file: it lives as long as the process that holds it, the veth pair and the route to the
pods go with it, and Linux kills the holder when the tests crash. This machine's packet filter is never touched.
"""

import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from support.waiting import wait_until
from testbed.programs.commands import TestbedError, run, tied_to_us
from testbed.real_node.packages import NODE, ensure_installed

NODE_LINK = "uplink"
CANDIDATES = range(231, 251)
"""Second octets of 10.N.0.0/16 that are tried for a network that this machine has no route to."""


class NodeNetwork:
    """The namespace while the context is open; `command_prefix` runs a command inside it.

    Its name is that of the veth pair's end on this machine; there is one network of a name at a time.
    """

    def __init__(self, name: str = "arcface-node") -> None:
        self.name = name

    def __enter__(self) -> Self:
        ensure_installed(NODE)
        self.turn = take_turn(self.name)
        try:
            self.holder = subprocess.Popen(tied_to_us(["unshare", "--net", "sleep", "infinity"]))
            self.connect()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "holder"):
            self.holder.kill()
            self.holder.wait()
        remove_link(self.name)
        self.turn.close()

    def connect(self) -> None:
        """Give both ends of the veth pair their addresses and routes."""
        wait_until(self.is_separate)
        remove_link(self.name)
        octet = free_octet()
        self.host_address, self.node_address = f"10.{octet}.0.1", f"10.{octet}.0.2"
        self.pod_range = f"10.{octet}.1.0/24"
        peer = ["peer", "name", NODE_LINK, "netns", str(self.holder.pid)]
        run(["ip", "link", "add", self.name, "type", "veth", *peer])
        run(["ip", "address", "add", f"{self.host_address}/30", "dev", self.name])
        run(["ip", "link", "set", self.name, "up"])
        for inside in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{self.node_address}/30", "dev", NODE_LINK],
            ["link", "set", NODE_LINK, "up"],
            ["route", "add", "default", "via", self.host_address],
        ):
            run([*self.command_prefix, "ip", *inside])
        run(["ip", "route", "add", self.pod_range, "via", self.node_address, "dev", self.name])

    def is_separate(self) -> bool:
        """Whether the holder has left our network namespace."""
        return Path(f"/proc/{self.holder.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()

    @property
    def command_prefix(self) -> list[str]:
        """What comes before a command that is to run in the namespace and to end with us."""
        return tied_to_us(["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"])

    @contextmanager
    def denying(self, address: str, port: int, *verdict: str) -> Iterator[None]:
        """Deny what comes to a port of pods from outside of the node, as a network plugin does: DROP, REJECT ..."""
        rule = ["FORWARD", "--in-interface", NODE_LINK, "--destination", address, "--protocol", "tcp"]
        rule += ["--dport", str(port), "--jump", *verdict]
        run([*self.command_prefix, "iptables", "--wait", "--insert", *rule])
        try:
            yield
        finally:
            run([*self.command_prefix, "iptables", "--wait", "--delete", *rule])


def take_turn(name: str) -> socket.socket:
    """Wait until no other process of this machine has a network of this name.

    The turn is an abstract socket: it needs no file and ends with its process.
    """
    turn = socket.socket(socket.AF_UNIX)

    def is_ours() -> bool:
        try:
            turn.bind(f"\0{name}")
        except OSError:
            return False
        return True

    wait_until(is_ours, seconds=600)
    return turn


def remove_link(name: str) -> None:
    """Remove the veth pair of a crashed run, or of this one before Linux gets to it."""
    if name in {link["ifname"] for link in json.loads(run(["ip", "-json", "link", "show"]))}:
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def free_octet() -> int:
    """Second octet of a network that no route of this machine overlaps."""
    routes = json.loads(run(["ip", "-4", "-json", "route", "show"]))
    taken = [ipaddress.ip_network(route["dst"]) for route in routes if route["dst"] != "default"]
    for octet in CANDIDATES:
        if not any(ipaddress.ip_network(f"10.{octet}.0.0/16").overlaps(network) for network in taken):
            return octet
    raise TestbedError(f"this machine has routes to all of 10.{CANDIDATES[0]}.0.0/16 to 10.{CANDIDATES[-1]}.0.0/16")
