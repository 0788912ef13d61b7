"""Loopback addresses for pods: every pod gets an address of its own, as it would in a cluster.

All of 127.0.0.0/8 is this machine, so the fixed ports of the contract do not collide between pods or between runs.
"""

import ipaddress
import random
import socket
from collections.abc import Collection

from arcface_api.errors import ArcFaceError

DRAWS = 50


def draw_addresses(count: int, ports: Collection[int]) -> list[str]:
    """Consecutive addresses in a network drawn at random, on all of which these ports are free."""
    for _ in range(DRAWS):
        # 127.0.x.y is left to services of the machine.
        network = ipaddress.IPv4Address(f"127.{random.randint(64, 254)}.{random.randint(0, 199)}.0")  # noqa: S311
        addresses = [str(network + 1 + index) for index in range(count)]
        if all(is_free(address, port) for address in addresses for port in ports):
            return addresses
    raise ArcFaceError(f"no loopback network where the ports {sorted(ports)} are free; end other runs first")


def is_free(address: str, port: int) -> bool:
    """Whether a server may listen on this port."""
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
