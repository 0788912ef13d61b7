"""On which device a checkpoint's network is loaded."""

import mindspore
import numpy as np
import pytest

from arcface_trainer.network import inference
from arcface_trainer.network.backbones import load_network
from arcface_trainer.network.inference import load_on_device
from support.builders.checkpoints import write_checkpoint


@pytest.fixture
def cards(monkeypatch):
    """Cards that were taken: accelerator, number."""
    taken = []
    monkeypatch.setattr(inference, "configure_device", lambda _, *card: taken.append(card))
    return taken


@pytest.mark.parametrize("number", [None, "3"])
def test_a_process_embeds_on_the_card_that_it_is_given(tmp_path, monkeypatch, cards, number):
    monkeypatch.delenv("DEVICE_ID", raising=False)
    if number is not None:
        monkeypatch.setenv("DEVICE_ID", number)
    load_on_device(write_checkpoint(tmp_path), "ascend")
    assert cards == [("ascend", int(number or 0))]


def test_without_a_word_a_card_is_taken_where_there_is_one(tmp_path, monkeypatch, cards):
    folder = write_checkpoint(tmp_path)
    load_on_device(folder, None)
    assert cards == []
    monkeypatch.setattr(mindspore.device_context.ascend, "is_available", lambda: True)
    load_on_device(folder, None)
    assert cards == [("ascend", 0)]


def test_on_the_cpu_nothing_is_taken(tmp_path, monkeypatch, cards):
    monkeypatch.setattr(mindspore.device_context.ascend, "is_available", lambda: True)
    folder, images = write_checkpoint(tmp_path), np.zeros((2, 3, 112, 112), np.uint8)
    np.testing.assert_array_equal(load_on_device(folder, "cpu")(images), load_network(folder)(images))
    assert cards == []
