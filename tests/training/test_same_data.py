"""Ranks that read different copies of the images do not train."""

from pathlib import Path

from support.processes.real_ranks import run_on_ranks
from support.processes.trainings import write_image_folder, write_run_config


def test_two_ranks_with_different_copies_both_name_both(tmp_path):
    for rank in range(2):
        images = write_image_folder(tmp_path / f"images-{rank}")
        write_run_config(tmp_path / f"run-{rank}.json", images, tmp_path / "checkpoints", metricsPort=0)
    (tmp_path / "images-1" / "person-2" / "011.png").unlink()
    run_on_ranks(Path(__file__).with_name("other_data_of_a_rank.py"), 2, str(tmp_path))
    for rank in range(2):
        refusal = (tmp_path / f"refusal-{rank}").read_text()
        assert "rank 0 has 48 images of 4 identities (fingerprint " in refusal
        assert "rank 1 has 47 images of 4 identities (fingerprint " in refusal
        assert refusal.endswith("give all pods the same copy of the images")
