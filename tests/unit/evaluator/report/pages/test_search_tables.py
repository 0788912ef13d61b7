"""What a page tells of searches and of all images against all: every rate and threshold of the document."""

import re

from arcface_evaluator.report.document import EvaluationFile
from arcface_evaluator.report.pages import evaluation_page
from arcface_evaluator.report.provenance import InputFile
from arcface_evaluator.report.searches import AllPairsRates, GalleryRates, IdentificationRates

INPUTS = [InputFile(path="e.npy", sha256="0" * 64)]


def gallery(name, rank_1, tpir):
    return GalleryRates(
        gallery=name,
        enrolled=1772,
        mated=10269,
        non_mated=9324,
        matches={"1": rank_1, "5": 0.97, "10": 0.98},
        tpir={"1e-1": tpir},
        tpir_rank1={"1e-1": tpir - 0.01},
        intervals={"1e-1": (tpir - 0.02, tpir + 0.02)},
        thresholds={"1e-1": 0.3125},
        unresolved=["1e-2"],
    )


def identified(rank_1):
    galleries = [gallery("G1", rank_1, 0.9), gallery("G2", rank_1 - 0.1, 0.8)]
    found = IdentificationRates(
        dataset="IJBC",
        galleries=galleries,
        matches={"1": rank_1 - 0.05, "5": 0.97, "10": 0.98},
        tpir={"1e-1": 0.85},
        tpir_rank1={"1e-1": 0.84},
        joined_matches={"1": 0.93, "5": 0.94, "10": 0.96},
        joined_rates={"1e-1": 0.91, "1e-2": 0.81},
    )
    return EvaluationFile(inputs=INPUTS, identification=[found])


def listed(group, tar):
    return AllPairsRates(
        dataset="faces",
        group=group,
        images=400,
        labels=100,
        genuine=600,
        impostors=79200,
        tar_at_far={"1e-4": tar},
        thresholds={"1e-4": 0.4375},
        unresolved=["1e-6", "1e-5"],
    )


def rows_of(page, columns):
    found = re.findall(r"<tr><td>.*?</tr>", page)
    return [cells for row in found if len(cells := re.findall(r"<td>(.*?)</td>", row)) == columns]


def test_galleries_have_their_rates_mean_and_thresholds(tmp_path):
    page = evaluation_page.write_page(tmp_path, {"r50": identified(0.95)}).read_text()
    assert rows_of(page, 9) == [
        ["G1", "1772", "10269", "9324", "95.00", "97.00", "98.00", "90.00", "-"],
        ["G2", "1772", "10269", "9324", "85.00", "97.00", "98.00", "80.00", "-"],
        ["mean", "", "", "", "90.00", "97.00", "98.00", "85.00", "-"],
        ["as ijb_1n.py: all as one", "", "", "", "93.00", "94.00", "96.00", "91.00", "81.00"],
    ]
    assert rows_of(page, 6) == [
        ["IJBC", "rank 1, mean of galleries", "0.90000", "-", "-", "-"],
        ["G1", "1e-1", "0.3125", "90.00", "88.00 to 92.00", "89.00"],
        ["G2", "1e-1", "0.3125", "80.00", "78.00 to 82.00", "79.00"],
    ]


def test_no_thresholds_are_told_where_there_are_none(tmp_path):
    found = identified(0.95)
    galleries = [each.model_copy(update={"thresholds": {}}) for each in found.identification[0].galleries]
    run_of = EvaluationFile(
        inputs=INPUTS, identification=[found.identification[0].model_copy(update={"galleries": galleries})]
    )
    assert "Thresholds" not in evaluation_page.write_page(tmp_path, {"r50": run_of}).read_text()


def test_several_runs_stand_below_each_other(tmp_path):
    runs = {"r50": identified(0.95), "r100": identified(0.97)}
    page = evaluation_page.write_page(tmp_path, runs).read_text()
    assert [row[:2] for row in rows_of(page, 10) if row[1] == "G1"] == [["r50", "G1"], ["r100", "G1"]]
    assert page.count('<h2 id="IJBC">') == 1


def test_a_list_has_its_groups_and_a_glance_at_all_images(tmp_path):
    run_of = EvaluationFile(inputs=INPUTS, all_pairs=[listed(None, 0.5), listed("<i>a", 0.25)])
    page = evaluation_page.write_page(tmp_path, {"r50": run_of}).read_text()
    assert rows_of(page, 8) == [
        ["all", "400", "100", "600", "79200", "-", "-", "50.00"],
        ["&lt;i&gt;a", "400", "100", "600", "79200", "-", "-", "25.00"],
    ]
    assert rows_of(page, 4) == [["all", "1e-4", "0.4375", "50.00"], ["&lt;i&gt;a", "1e-4", "0.4375", "25.00"]]
    assert rows_of(page, 6) == [["faces", "TAR at FAR 1e-4, all images", "0.50000", "-", "-", "-"]]
