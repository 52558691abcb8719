"""The text lists: both endings, and a message for every way in which a file can be wrong."""

import pytest
from tiny_releases import HEADER, write_celeba

from facefill.errors import UserError
from pipelines.sources import lists
from pipelines.sources.records import unpacked

ROW = "000001.jpg 69 109 106 113 77 142 73 152 108 154"


def refused(tmp_path, text: str, match: str, name: str = "list_landmarks_celeba.txt") -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=match) as caught:
        lists.read_five_points(str(tmp_path / name))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_txt_and_csv_of_the_genuine_list_agree(realdata):
    txt = lists.read_five_points(str(realdata / "celeba/list_landmarks_align_celeba.txt"))
    csv = lists.read_five_points(str(realdata / "celeba/list_landmarks_align_celeba.csv"))
    assert len(txt) == 88 and txt.keys() == csv.keys()
    assert txt == csv
    assert unpacked(txt["000001.jpg"]).tolist() == [[69, 109], [106, 113], [77, 142], [73, 152], [108, 154]]


def test_genuine_68_points(realdata):
    rows = lists.read_68_points(str(realdata / "celeba/landmarks68_dlib.csv"))
    assert len(rows) == 2888 and sum(not detected for _, detected in rows.values()) == 95
    assert unpacked(rows["000001.jpg"][0])[:2].tolist() == [[59, 113], [57, 123]]


def test_genuine_mapping_with_and_without_header(realdata, tmp_path):
    url = realdata / "celebamask_hq/CelebA-HQ-to-CelebA-mapping.txt"
    mapping = lists.read_mapping(str(url))
    assert len(mapping) == 30000 and mapping[0] == "119614.jpg" and mapping[5] == "000615.jpg"
    headerless = tmp_path / "mapping.txt"
    headerless.write_text(url.read_text().split("\n", 1)[1])
    assert lists.read_mapping(str(headerless)) == mapping


def test_web_pages_are_refused(tmp_path):
    refused(tmp_path, "\n <!DOCTYPE html><html>Not found</html>", "web page")
    (tmp_path / "identity_CelebA.txt").write_text("<html>")
    with pytest.raises(UserError, match=r"identity_CelebA\.txt.*web page.*download it again"):
        lists.read_pairs(str(tmp_path / "identity_CelebA.txt"))


def test_wrong_landmark_lists_are_refused(tmp_path):
    refused(tmp_path, f"3\n{HEADER}\n{ROW}\n", "announces 3 rows, the file has 1")
    refused(tmp_path, f"{HEADER}\n{ROW}\n", "line 1: expected the number of rows")
    refused(tmp_path, f"1\n{HEADER.replace('nose_x ', '')}\n{ROW}\n", "missing columns nose_x")
    refused(tmp_path, f"1\n{HEADER}\n{ROW} 9\n", "line 3: expected a name and 10 numbers, found 11")
    refused(tmp_path, f"1\n{HEADER}\n{ROW.replace('142', 'x')}\n", "line 3: expected numbers")
    refused(tmp_path, f"1\n{HEADER}\n{ROW.replace('142', 'nan')}\n", "line 3")
    refused(tmp_path, "", "empty")
    refused(tmp_path, f"1\n{HEADER}\n", "announces 1 rows, the file has 0")
    # the list of another kind under this name
    refused(tmp_path, "000001.jpg 2880\n", "line 1")
    swapped = "image_id,righteye_x,righteye_y,lefteye_x,lefteye_y," + ",".join(HEADER.split()[4:])
    refused(tmp_path, swapped + "\n" + ROW.replace(" ", ",") + "\n", "another order", "l.csv")


def test_a_missing_list_says_what_was_expected(tmp_path):
    with pytest.raises(UserError, match=r"no such file; expected rows of five"):
        lists.read_five_points(str(tmp_path / "absent.txt"))


def test_pairs(tmp_path):
    root = write_celeba(tmp_path)
    assert lists.read_pairs(str(root / "Anno/identity_CelebA.txt"))["000003.jpg"] == 101
    (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\n000001.jpg,2\n")
    assert lists.read_pairs(str(tmp_path / "list_eval_partition.csv")) == {"000001.jpg": 2}
    (tmp_path / "pairs.txt").write_text("000001.jpg\n")
    with pytest.raises(UserError, match="line 1: expected a name and 1 numbers, found 0"):
        lists.read_pairs(str(tmp_path / "pairs.txt"))


def test_68_points_need_all_columns(tmp_path):
    (tmp_path / "p.csv").write_text("image_id,x0,y0\n000001.jpg,1,2\n")
    with pytest.raises(UserError, match="missing columns detected"):
        lists.read_68_points(str(tmp_path / "p.csv"))


def test_mapping_rows_are_checked(tmp_path):
    (tmp_path / "m.txt").write_text("idx orig_idx orig_file\n0 119613\n")
    with pytest.raises(UserError, match="line 2: expected idx, orig_idx, orig_file"):
        lists.read_mapping(str(tmp_path / "m.txt"))


def test_a_second_row_of_one_picture_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.jpg 1\nb.jpg 2\na.jpg 3\n")
    with pytest.raises(UserError, match=r"list\.txt, line 3: a second row of a\.jpg; remove one of the two"):
        lists.read_pairs(str(path))
    path.write_text("0 5 000006.jpg\n0 6 000007.jpg\n")
    with pytest.raises(UserError, match="line 2: a second row of 0;"):
        lists.read_mapping(str(path))


def test_boxes_in_both_layouts(tmp_path):
    (tmp_path / "a.txt").write_text("1\nimage_id x_1 y_1 width height\n000001.jpg   95  71 226 313\n")
    (tmp_path / "a.csv").write_text("image_id,x_1,y_1,width,height\n000001.jpg,95,71,226,313\n")
    expected = {"000001.jpg": (95, 71, 226, 313)}
    assert lists.read_boxes(str(tmp_path / "a.txt")) == lists.read_boxes(str(tmp_path / "a.csv")) == expected
