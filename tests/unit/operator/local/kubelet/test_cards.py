"""Which cards a run may have on this machine, and the one line about what is missing."""

from pathlib import Path
from typing import Any

import pytest

from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_operator.local.kubelet.cards import PodCards, check_cards, take_cards
from support.fakes.ascend_node import DRIVER, write_node, write_process
from support.fakes.npu_smi import A2_BUSES, install, table

ASCEND_910 = "huawei.com/Ascend910"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server of eight cards, without npu-smi."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return write_node(tmp_path / "root", 8)


def pod(cards: Any) -> dict[str, Any]:
    resources = {} if cards is None else {"resources": {"limits": {ASCEND_910: cards}}}
    return {"spec": {"containers": [{"name": "trainer", **resources}]}}


def test_a_whole_server_is_taken(node: Path) -> None:
    check_cards(8, node, {})
    assert take_cards(8, node, {}) == tuple(range(8))


def test_what_the_shell_leaves_is_taken_in_order(node: Path) -> None:
    environment = {"ASCEND_RT_VISIBLE_DEVICES": "1,4,6"}
    check_cards(3, node, environment)
    assert take_cards(2, node, environment) == (1, 4)


def test_a_container_counts_the_cards_that_it_has(tmp_path: Path, node: Path) -> None:
    """Its device files keep the numbers of the host; MindSpore counts from 0."""
    for number in (0, 1, 2, 3, 6):
        (node / "dev" / f"davinci{number}").unlink()
    assert take_cards(3, node, {}) == (0, 1, 2)


@pytest.mark.parametrize("missing", DRIVER)
def test_a_missing_part_of_the_driver_is_named(node: Path, missing: str) -> None:
    (node / "dev" / missing).unlink()
    with pytest.raises(InvalidInput, match=f"^workers.accelerator: .* /dev/{missing} is missing; install the driver"):
        check_cards(1, node, {})


def test_the_drivers_library_may_lie_where_the_installer_or_the_loader_is_told(node: Path, tmp_path: Path) -> None:
    library = next((node / "usr").rglob("libascend_hal.so"))
    library.unlink()
    with pytest.raises(InvalidInput, match=r"libascend_hal\.so is not in /usr/local/Ascend/driver/lib64"):
        check_cards(1, node, {})
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "libascend_hal.so").touch()
    check_cards(1, node, {"LD_LIBRARY_PATH": f":/none:{tmp_path}/libraries"})
    elsewhere = node / "opt/npu/driver/lib64/libascend_hal.so"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.touch()
    (node / "etc/ascend_install.info").write_text("Driver_Install_Path_Param=/opt/npu\nDriver_Install_Mode=normal\n")
    check_cards(1, node, {})


@pytest.mark.parametrize(
    ("count", "visible", "told"),
    [
        (16, None, "workers: the job takes 16 cards at once, this machine has 8; lower replicas or devicesPerWorker"),
        (4, "0,1", "workers: the job takes 4 cards at once, ASCEND_RT_VISIBLE_DEVICES=0,1 leaves it 2; lower"),
        (1, "7,8", "ASCEND_RT_VISIBLE_DEVICES=7,8: there is no card 8, of 8 on this machine"),
        (1, "0, 1", "ASCEND_RT_VISIBLE_DEVICES='0, 1': CANN takes"),
    ],
)
def test_cards_that_are_not_there_are_told(node: Path, count: int, visible: str | None, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_cards(count, node, {} if visible is None else {"ASCEND_RT_VISIBLE_DEVICES": visible})
    assert str(caught.value).startswith(told)


def test_cards_that_others_compute_on_are_passed_over(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", install(tmp_path / "bin", table(A2_BUSES, {0: [4711], 3: [12, 13]})))
    assert take_cards(6, node, {}) == (1, 2, 4, 5, 6, 7)
    check_cards(8, node, {})
    with pytest.raises(ArcFaceError) as caught:
        take_cards(8, node, {})
    assert not isinstance(caught.value, InvalidInput), "it passes"
    assert str(caught.value) == (
        "workers: the job takes 8 cards at once, 6 are free: card 0 (/dev/davinci0) is in use by process 4711, "
        "card 3 (/dev/davinci3) is in use by process 12; end what uses them or run again later"
    )


def test_without_npu_smi_open_device_files_tell(node: Path) -> None:
    write_process(node, 99, "/dev/null", "/dev/davinci_manager", "/dev/davinci5")
    write_process(node, 100, "/dev/davinci_manager")
    (node / "proc" / "self").mkdir()
    assert take_cards(7, node, {}) == (0, 1, 2, 3, 4, 6, 7)
    with pytest.raises(ArcFaceError, match=r"/dev/davinci5.* process 99"):
        take_cards(8, node, {})


def test_each_pod_of_a_gang_gets_cards_of_its_own() -> None:
    cards = PodCards(resource_name=ASCEND_910, numbers=(0, 2, 4, 6))
    assert cards.variables([0, 2, 1], [pod(2), pod("1"), pod(None)]) == [
        {"ASCEND_RT_VISIBLE_DEVICES": "0,2"},
        {"ASCEND_RT_VISIBLE_DEVICES": "4"},
        {},
    ]


def test_pods_on_cpu_get_none() -> None:
    assert PodCards().variables([0], [pod(None)]) == [{}]
