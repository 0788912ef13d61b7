"""The files of a server with Ascend cards below a folder: what its driver and its kernel show."""

from pathlib import Path

DRIVER = ("davinci_manager", "devmm_svm", "hisi_hdc")


def write_node(root: Path, cards: int) -> Path:
    """Device files, the driver's library and the installer's note; returns the root."""
    (root / "dev").mkdir(parents=True)
    for name in [*DRIVER, *(f"davinci{number}" for number in range(cards))]:
        (root / "dev" / name).touch()
    library = root / "usr/local/Ascend/driver/lib64/driver/libascend_hal.so"
    library.parent.mkdir(parents=True)
    library.touch()
    (root / "etc").mkdir()
    (root / "etc/ascend_install.info").write_text("UserName=HwHiAiUser\nDriver_Install_Path_Param=/usr/local/Ascend\n")
    return root


def write_process(root: Path, number: int, *opened: str) -> None:
    """A process that has these files open, as /proc shows them to whoever may look into it."""
    folder = root / "proc" / str(number) / "fd"
    folder.mkdir(parents=True)
    for descriptor, name in enumerate(opened):
        (folder / str(descriptor)).symlink_to(name)


def write_numa(sysfs: Path, nodes: dict[int, str], buses: dict[str, int]) -> None:
    """NUMA nodes with their cores, and the nodes of devices by their buses."""
    for node, cores in nodes.items():
        folder = sysfs / "devices/system/node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cores}\n")
    for bus, node in buses.items():
        folder = sysfs / "bus/pci/devices" / bus
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{node}\n")
