import tracemalloc

import pytest

from defectkit.data.dataset import SCOPE_TABLE, Dataset
from defectkit.data.record_table import RecordTable
from defectkit.files import read_csv
from defectkit.regions import Region

IMAGES = "image_id,path,height,width,channels,sha256,group,split,defective\n"
MASKS = "image_id,class_id,rle\n"
DEFECTS = "image_id,class_id,defect_id,x,y,width,height,area\n"


def write_tables(folder, images, masks="", defects="", scopes=""):
    (folder / "images.csv").write_text(IMAGES + images)
    (folder / "masks.csv").write_text(MASKS + masks)
    (folder / "defects.csv").write_text(DEFECTS + defects)
    if scopes:
        (folder / SCOPE_TABLE).write_text("image_id,kind,shape\n" + scopes)
    return folder


def test_rows_in_any_order_belong_to_the_image_that_they_name(tmp_path):
    write_tables(
        tmp_path,
        "b,../b.png,40,50,1,x,g,val,1\na,../a.png,30,60,3,y,g,train,1\nc,../c.png,9,9,1,z,h,test,0\n",
        "a,2,1 3\nb,1,1 6\na,1,7 2\n",
        "a,1,1,0,6,1,2,2\nb,1,1,0,0,1,6,6\na,2,1,0,0,1,3,3\n",
        'a,ignored,5 1\n,roi,"0,0,9,9"\n',
    )
    table = RecordTable(tmp_path, SCOPE_TABLE)
    b, a, c = (table.fields(number) for number in range(3))
    assert a == {
        "image_id": "a", "path": "../a.png", "height": 30, "width": 60, "channels": 3,
        "sha256": "y", "group": "g", "split": "train",
        "rles": {"2": "1 3", "1": "7 2"},
        "regions": (
            Region(class_id="1", box_xywh=(0, 6, 1, 2), area=2),
            Region(class_id="2", box_xywh=(0, 0, 1, 3), area=3),
        ),
        "roi": "0,0,9,9", "ignored": "5 1",
    }  # fmt: skip
    assert [*a["rles"]] == ["2", "1"]
    assert b["rles"] == {"1": "1 6"}
    assert b["ignored"] == ""
    assert (c["rles"], c["regions"], c["split"]) == ({}, (), "test")
    assert [*table.column("split", table.in_split("val"))] == ["val"]
    assert [*table.column("channels", [2, 1])] == [1, 3]


def test_the_records_of_a_split_and_of_a_slice_are_those_of_their_rows(dataset_folder):
    records = Dataset.load(dataset_folder).records
    rows = read_csv(dataset_folder / "images.csv")
    assert [one.image_id for one in records[3:9:2]] == [row["image_id"] for row in rows[3:9:2]]
    assert [one.image_id for one in records[5:].in_split("train")] == [
        row["image_id"] for row in rows[5:] if row["split"] == "train"
    ]
    assert records[-1].image_id == rows[-1]["image_id"]
    assert [*records] == records == Dataset.load(dataset_folder).records
    assert records != records[1:]
    with pytest.raises(IndexError):
        records[len(rows)]


@pytest.mark.parametrize(
    ("images", "masks", "defects", "message"),
    [
        ("a,a,9,9,1,x,g,dev,1\n", "", "", "split 'dev' is not one of train, val, test"),
        ("a,a,9,9,1,x,g,val,1\n", "a,1,1 1\n", "", "only one of them has class 1 of a"),
        ("a,a,9,9,1,x,g,val,1\n", "", "q,2,1,0,0,1,1,1\n", "only one of them has class 2 of q"),
        ("a,a,9,9,1,x,g,val,1\n", "a,1,1 1\n", "a,1,1,0,0,1,1,2\n", "do not fit each other"),
        ("a,a,9,9,1,x,g,val,1\n", "a,1,1 1\n", "a,1,1,0,0,0,1,0\n", "do not fit each other"),
        ("a,a,9,9,1,x,g,val,1\n", "a,1,1 1\n", "a,1,1,9,0,1,1,1\n", "outside of a, which is 9x9"),
        ("a,a,9,9,1,x,g,val,1\n", "a,1,1 1\n", "a,1,1,0,-1,1,1,1\n", "outside of a, which is"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(tmp_path, images, masks, defects, message):
    write_tables(tmp_path, images, masks, defects)
    with pytest.raises(ValueError, match=message):
        RecordTable(tmp_path, SCOPE_TABLE)


def test_a_scope_of_an_image_that_there_is_not_is_refused(tmp_path):
    write_tables(tmp_path, "a,a,9,9,1,x,g,val,0\n", scopes="b,ignored,1 1\n")
    with pytest.raises(ValueError, match=r"scope\.csv names b, which images\.csv has not"):
        RecordTable(tmp_path, SCOPE_TABLE)


def test_a_number_that_no_column_holds_is_an_error_that_is_told(tmp_path):
    write_tables(tmp_path, f"a,a,9,{'9' * 30},1,x,g,val,0\n")
    with pytest.raises(OverflowError):
        RecordTable(tmp_path, SCOPE_TABLE)


def test_columns_take_little_more_memory_than_the_tables(tmp_path):
    count, text = 2000, " ".join(f"{1 + 300 * run} 30" for run in range(20))
    write_tables(
        tmp_path,
        "".join(f"{n:07d},../T/{n:07d},300,300,1,{n:064d},{n:07d},val,1\n" for n in range(count)),
        "".join(f"{n:07d},1,{text}\n" for n in range(count)),
        "".join(f"{n:07d},1,1,0,0,100,30,600\n" for n in range(count)),
    )
    tables = sum(path.stat().st_size for path in tmp_path.iterdir())
    tracemalloc.start()
    table = RecordTable(tmp_path, SCOPE_TABLE)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == count
    assert held < 1.5 * tables
