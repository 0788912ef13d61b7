"""Files of galleries and probes, and what is wrong with them."""

import pytest

from arcface_api.errors import InvalidInput
from arcface_evaluator.protocols.identification import NOBODY
from arcface_evaluator.sets.galleries import open_galleries
from arcface_evaluator.sets.release import open_templates
from support.builders.ijb_release import write_release

FILES = {
    "gallery_G1": "TEMPLATE_ID,SUBJECT_ID,FILENAME\n10,1,img/a.jpg\n0,7,img/b.jpg\n10,1,img/c.jpg\n",
    "gallery_G2": "TEMPLATE_ID,SUBJECT_ID\n20,2\n",
    "probe_mixed": "TEMPLATE_ID,SUBJECT_ID\n11,1\n1,7\n21,2\n",
}


@pytest.fixture
def opened(tmp_path):
    """Galleries of a set of templates 0, 1, 10, 11, ... 111, by the contents of their files."""

    def write(files, name="IJBC"):
        root = write_release(tmp_path, name)
        for kind, text in files.items():
            (root / "meta" / f"{name.lower()}_1N_{kind}.csv").write_bytes(text.encode())
        return open_galleries(open_templates(root))

    return write


def shown(subjects):
    """Indices of templates with their subjects."""
    return dict(zip(subjects.templates.tolist(), subjects.subjects.tolist(), strict=True))


def test_the_files_of_ijb_c_are_read_with_their_other_columns_and_repeated_templates(opened):
    found = opened(FILES | {"probe_img": "TEMPLATE_ID,SUBJECT_ID\n1,7\n"})
    assert {name: shown(gallery) for name, gallery in found.galleries.items()} == {"G1": {0: 7, 2: 1}, "G2": {4: 2}}
    assert shown(found.probes) == {1: 7, 3: 1, 5: 2}
    assert [path.name for path in found.files] == [f"ijbc_1N_{kind}.csv" for kind in FILES]


def test_ijb_b_has_galleries_of_its_own_names(opened):
    files = {kind.replace("_G", "_S"): text for kind, text in FILES.items()}
    assert list(opened(files, "IJBB").galleries) == ["S1", "S2"]


def test_a_set_of_ones_own_has_a_gallery_and_distractors(opened):
    files = {"gallery": "\ufeff0;7\r\n", "distractors": "template\n30\n40\n", "probe": "1 , 7\n\n11,1\n"}
    found = opened(files, "tinyface")
    assert {name: shown(gallery) for name, gallery in found.galleries.items()} == {
        "gallery": {0: 7, 6: NOBODY, 8: NOBODY}
    }
    assert shown(found.probes) == {1: 7, 3: 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gallery_G2": None}, "ijbc_1N_gallery_G2.csv: is missing; identification needs a gallery and probes"),
        ({"probe_mixed": None}, "ijbc_1N_probe_mixed.csv: is missing"),
        ({"gallery_G1": "t,s\n10,1\n11,2\n10,3\n"}, "gallery_G1.csv line 4: template 10 has another subject in an"),
        ({"gallery_G1": "t,s\n10,1\n12,2\n"}, "gallery_G1.csv line 3: template 12 has no images"),
        ({"gallery_G1": "10|1\n"}, "gallery_G1.csv line 1: '10|1'; a line is 'template,subject', whole numbers"),
        # None of these first lines is a heading: the template would be left out without a word.
        ({"gallery_G1": "-10,1\n0,7\n"}, "gallery_G1.csv line 1: '-10,1'"),
        ({"gallery_G1": "l0,1\n0,7\n"}, "gallery_G1.csv line 1: 'l0,1'"),
        ({"gallery_G1": "nan,NaN\n0,7\n"}, "gallery_G1.csv line 1: 'nan,NaN'"),
        ({"gallery_G1": "\n10,1\n\n0,x\n"}, "gallery_G1.csv line 4: '0,x'"),
        ({"gallery_G1": "t,s\n10,-1\n"}, "gallery_G1.csv line 2: '10,-1'"),
        ({"gallery_G1": "t,s\n10,1.0\n"}, "gallery_G1.csv line 2: '10,1.0'"),
        ({"gallery_G1": "t,s\n10\n"}, "gallery_G1.csv line 2: '10'"),
        ({"gallery_G1": f"t,s\n{'9' * 30},1\n"}, "gallery_G1.csv line 2: '99999"),
        ({"gallery_G1": "t,s\n"}, "gallery_G1.csv: names no template"),
        ({"gallery_G1": 't,s\n10,1,"x\n11,2\n'}, "gallery_G1.csv line 3: is no CSV ("),
        ({"gallery_G1": ""}, "gallery_G1.csv: names no template"),
    ],
)
def test_a_bad_file_is_told_by_its_line(opened, changes, said):
    files = {kind: text for kind, text in (FILES | changes).items() if text is not None}
    with pytest.raises(InvalidInput) as refused:
        opened(files)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"gallery": "0,7\n", "probe": "1,7\n", "distractors": "0\n"}, "template 0 is in a gallery and among distract"),
        ({"gallery": "0,7\n", "probe_a": "1,7\n", "probe_b": "1,7\n"}, "probe_b.csv is beside it; keep one file"),
        ({"probe": "1,7\n"}, "mine_1N_gallery.csv: is missing"),
        ({"gallery": "0,7\n"}, "mine_1N_probe.csv: is missing"),
    ],
)
def test_a_set_of_ones_own_is_held_to_the_same(opened, files, said):
    with pytest.raises(InvalidInput, match=said):
        opened(files, "mine")
