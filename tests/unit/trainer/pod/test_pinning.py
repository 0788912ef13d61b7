"""Which cores the ranks of a pod get, on servers as sysfs and npu-smi show them."""

import os

import pytest

from arcface_api.contract.run_config import RunRanks
from arcface_trainer.pod.pinning import core_shares
from support.fakes.ascend_node import write_numa
from support.fakes.npu_smi import A2_BUSES, install, table

NODES = {0: "0-3,16-19", 1: "4-7,20-23", 2: "8-11,24-27", 3: "12-15,28-31"}
NEAR = {"C1": 3, "C2": 3, "01": 0, "02": 0, "81": 2, "82": 2, "41": 1, "42": 1}
SECOND_HALF = [{8, 9, 10, 11}, {4, 5, 6, 7}, {24, 25, 26, 27}, {20, 21, 22, 23}]


@pytest.fixture(autouse=True)
def server(tmp_path, monkeypatch):
    """An A2 server of 32 cores in four NUMA nodes, two cards at each."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)))
    monkeypatch.setenv("PATH", install(tmp_path / "bin", table(A2_BUSES)))
    write_numa(tmp_path / "sys", NODES, {f"0000:{bus.lower()}:00.0": node for bus, node in NEAR.items()})
    return tmp_path


def shares(server, per_pod=8, accelerator="ascend"):
    ranks = RunRanks(world_size=8, per_pod=per_pod, accelerator=accelerator, rendezvous="dynamic")
    return core_shares(ranks, server / "sys")


def test_each_rank_gets_half_of_the_node_that_its_card_is_at(server):
    found = shares(server)
    assert found[0] | found[2] == {12, 13, 14, 15, 28, 29, 30, 31}
    assert found[1] | found[3] == {0, 1, 2, 3, 16, 17, 18, 19}
    assert [len(cores) for cores in found] == [4] * 8


def test_a_pod_with_some_of_the_cards_counts_its_own(server, monkeypatch):
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(4, 12), *range(20, 28)})
    assert shares(server, per_pod=4) == SECOND_HALF


def test_a_machine_that_tells_nothing_divides_plainly(server, monkeypatch):
    plain = [set(range(4 * rank, 4 * rank + 4)) for rank in range(8)]
    (server / "bin" / "npu-smi").unlink()
    assert shares(server) == plain


def test_devices_without_a_node_divide_plainly(server):
    for file in (server / "sys/bus/pci/devices").glob("*/numa_node"):
        file.write_text("-1\n")
    assert shares(server) == [set(range(4 * rank, 4 * rank + 4)) for rank in range(8)]


@pytest.mark.parametrize("switch", [None, "CPU"])
def test_ranks_that_compute_on_the_cpu_divide_plainly(server, monkeypatch, switch):
    if switch is not None:
        monkeypatch.setenv("ARCFACE_DEVICE_TARGET", switch)
    assert shares(server, 2, "cpu" if switch is None else "ascend") == [set(range(16)), set(range(16, 32))]


def test_a_rank_alone_keeps_all_cores(server):
    assert shares(server, 1) == [set(range(32))]
