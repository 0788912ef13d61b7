"""What npu-smi tells, in the layouts of one and of two chips a card, and what it does not."""

import pytest

from arcface_api.ascend_cards import Chip, ask_npu_smi, parse_chips, parse_visible
from arcface_api.errors import InvalidInput
from support.fakes.npu_smi import A2_BUSES, install, table


def test_chips_of_an_a2_server_are_listed_with_their_processes():
    chips = parse_chips(table(A2_BUSES, {2: [1333928], 7: [41, 42]}))
    assert [chip.bus for chip in chips] == [f"0000:{bus}:00.0" for bus in A2_BUSES]
    assert [chip.processes for chip in chips] == [(), (), (1333928,), (), (), (), (), (41, 42)]


def test_both_chips_of_an_a3_card_are_devices():
    chips = parse_chips(table(["9D", "9F", "99", "9B"], {1: [7], 2: [8, 9]}, chips=2))
    assert chips == [
        Chip("0000:9D:00.0", ()),
        Chip("0000:9F:00.0", (7,)),
        Chip("0000:99:00.0", (8, 9)),
        Chip("0000:9B:00.0", ()),
    ]


def test_a_container_with_one_card_counts_it_from_0():
    assert parse_chips(table(["41"], {0: [5]}, first_card=5)) == [Chip("0000:41:00.0", (5,))]


@pytest.mark.parametrize("name", ["910A", "910ProB", "910B4-1", "Ascend910"])
def test_every_name_of_a_chip_is_taken(name):
    assert len(parse_chips(table(A2_BUSES).replace("910B3", name.ljust(5)))) == 8


@pytest.mark.parametrize(
    "text",
    ["", "dcmi module initialize failed. ret is -8005\n", "| 0 | 1 | 2 |\n", f"| 0 0 | {'1' * 5000} | x | 1 |\n"],
)
def test_what_is_no_table_has_no_chips(text):
    assert parse_chips(text) == []


def test_the_command_is_asked_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", install(tmp_path / "bin", table(A2_BUSES)))
    assert len(ask_npu_smi()) == 8
    monkeypatch.setenv("PATH", install(tmp_path / "bin", table(A2_BUSES), code=1))
    assert ask_npu_smi() == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_npu_smi() == []


def test_visible_cards_are_read_as_cann_reads_them():
    assert parse_visible("0,1,4,12") == [0, 1, 4, 12]


@pytest.mark.parametrize("text", ["", "1, 2", "2,1", "1,1", "all", "0-3", "1,", "\uff11", "1" * 5000])
def test_what_cann_would_read_otherwise_is_refused(text):
    with pytest.raises(InvalidInput, match="ascending numbers"):
        parse_visible(text)
