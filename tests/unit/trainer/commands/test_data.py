import json
import os
import pickle
import re

import pytest
from click.testing import CliRunner

from arcface_api.contract.reports import DataStats
from arcface_api.errors import ExitCode, InvalidInput
from arcface_faces.images import decode
from arcface_trainer.commands.data import data
from support.builders.verification_set import encoded_image


def run(*arguments):
    return CliRunner().invoke(data, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture
def images(tmp_path):
    for identity, count in enumerate((3, 1, 2)):
        folder = tmp_path / "images" / str(identity)
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.png").write_bytes(encoded_image(10 * identity + number))
    return tmp_path / "images"


def test_stats_as_json_are_the_report_that_others_parse(images):
    outcome = run("stats", images, "--min-images", 2, "--json")
    assert DataStats.from_json(outcome.stdout, "stdout") == DataStats(
        directory=str(images),
        layout="folder",
        images=5,
        identities=2,
        dropped_identities=1,
        fewest_images=2,
        median_images=2.5,
        most_images=3,
    )


def test_stats_of_records_agree_with_those_of_the_folder(images, tmp_path):
    assert run("pack", images, tmp_path / "set").exit_code == 0
    records, folder = (json.loads(run("stats", path, "--json").stdout) for path in (tmp_path / "set", images))
    assert records.pop("layout") == "records"
    assert folder.pop("layout") == "folder"
    assert records.pop("directory") != folder.pop("directory")
    assert records == folder


def test_verify_names_each_image_with_a_fault(images):
    for number in range(25):
        (images / "1" / f"bad{number}.png").write_bytes(b"")
    outcome = run("verify", images)
    named = [line.partition(".png: ")[0] for line in outcome.stdout.splitlines()]
    assert sorted(named) == sorted(str(images / "1" / f"bad{number}") for number in range(25))
    assert isinstance(outcome.exception, InvalidInput)
    assert "25 of 31 images" in str(outcome.exception)
    assert outcome.exception.exit_code == ExitCode.INVALID_INPUT


def test_a_folder_whose_name_is_no_utf_8_is_told_in_text_and_in_json(images):
    folder = images / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "a\nb.png").write_bytes(b"")
    assert run("verify", images).stdout.startswith(f"{images}/\\udcff/a\\nb.png: does not decode")
    (folder / "a\nb.png").unlink()
    folder.rename(images / "4")
    images.rename(images.parent / os.fsdecode(b"\xff"))
    stats = run("stats", images.parent / os.fsdecode(b"\xff"), "--json")
    assert json.loads(stats.stdout)["directory"] == rf"{images.parent}/\udcff"


def test_verify_of_a_sound_set_ends_well(images):
    outcome = run("verify", images)
    assert outcome.exit_code == 0
    assert "6 images of 3 identities" in outcome.stdout


def test_pack_counts_what_it_skips(images, tmp_path):
    (images / "1" / "bad.png").write_bytes(b"")
    assert isinstance(run("pack", images, tmp_path / "set").exception, InvalidInput)
    outcome = run("pack", images, tmp_path / "set", "--skip-bad", "--workers", 2)
    assert outcome.stdout.startswith("6 images packed")
    assert "1 left out" in outcome.stdout


def test_synth_draws_a_set_that_trains_and_five_that_verify(tmp_path):
    request = ("--identities", 3, "--images-per-identity", 2, "--test-identities", 4, "--pairs", 20, "--seed", 9)
    outcome = run("synth", tmp_path / "faces", *request)
    assert outcome.exit_code == 0, outcome.exception
    assert run("verify", tmp_path / "faces").exit_code == 0
    stats = json.loads(run("stats", tmp_path / "faces", "--json").stdout)
    assert (stats["images"], stats["identities"], stats["fewestImages"]) == (6, 3, 2)
    for name in ("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw"):
        images, is_same = pickle.loads((tmp_path / "faces" / f"{name}.bin").read_bytes())
        assert (len(images), len(is_same), sum(is_same)) == (40, 20, 10)
        for image in images:
            decode(image, name)
    again = run("synth", tmp_path / "faces", *request)
    assert isinstance(again.exception, InvalidInput)
    assert "exists already" in str(again.exception)


def test_bench_tells_loop_and_loader(images):
    outcome = run("bench", images, "--batch-size", 2, "--threads", 1, "--seconds", 1)
    assert outcome.exit_code == 0, outcome.exception
    assert re.search(r"1 threads read and decode \d+ images/s; batches of 2 with .* come at \d+ ", outcome.stdout)


def test_bench_goes_on_past_images_that_a_training_tolerates(images):
    (images / "1" / "bad.png").write_bytes(b"")
    outcome = run("bench", images, "--batch-size", 2, "--threads", 1, "--seconds", 1)
    assert outcome.exit_code == 0, outcome.exception


def test_bench_names_its_own_option_where_images_fill_no_batch(images):
    outcome = run("bench", images)
    assert isinstance(outcome.exception, InvalidInput)
    assert str(outcome.exception) == f"--batch-size 128: {images} has 6 images: give no more"
