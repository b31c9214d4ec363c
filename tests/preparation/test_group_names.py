import re

import pytest

from defectkit.preparation.group_names import propose_groups

PARTS = range(12)


@pytest.mark.parametrize(
    ("names", "of_part"),
    [
        ([f"PART_{n:04}_view{k}.png" for n in PARTS for k in (1, 2, 3)], r"PART_(\d+)"),
        ([f"{n:03}_{side}.jpg" for n in PARTS for side in ("top", "left")], r"(\d+)"),
        ([f"2024{n:02}12_A{k}.bmp" for n in range(1, 10) for k in range(6)], r"^(\d+)"),
        ([f"tile{n:03}_r{y}_c{x}.png" for n in PARTS for y in (0, 1) for x in (0, 1)], r"e(\d+)"),
        ([f"{n:05}{letter}.png" for n in PARTS for letter in "ab"], r"(\d+)"),
        ([f"kos{n:02}/Part{k}.jpg" for n in PARTS for k in range(8)], r"kos(\d+)"),
        ([f"cam{k}_{n:06}.png" for n in range(40) for k in (1, 2)], r"_(\d+)"),
        ([f"a{n}_jpg.rf.{n * 7 + k:032x}.jpg" for n in PARTS for k in range(3)], r"a(\d+)_"),
        ([f"lot{n % 2}-{n:03}-pos{k}" for n in PARTS for k in range(4)], r"-(\d+)-"),
    ],
)
def test_names_of_several_images_of_a_part_are_seen(names, of_part):
    proposal = propose_groups(names)
    expected = {name: re.search(of_part, name)[1] for name in names}
    found = {name: re.search(proposal.expression, name)[1] for name in names}
    pairs = {(expected[name], found[name]) for name in names}
    assert len(pairs) == len({*expected.values()}) == len({*found.values()}) == proposal.n_groups
    assert expected[proposal.example[0]] == expected[proposal.example[1]]


@pytest.mark.parametrize(
    "names",
    [
        [f"img_{n:04}.png" for n in range(50)],
        [f"{n}.png" for n in range(50)],
        [f"{n:02}_{n * 37 % 1000}.png" for n in range(50)],
        [f"{kind}_{n}.jpg" for kind in ("crazing", "patches", "scratches") for n in range(60)],
        [f"{kind}_{n:03}.png" for kind in ("good", "bad") for n in range(40)],
        [f"test/{kind}/{n:03}.png" for kind in ("good", "crack", "hole") for n in range(20)],
        [f"20240312_{n * 97 % 240000:06}.png" for n in range(50)],
        [f"2024-03-{1 + n // 10:02}_{n * 97 % 240000:06}.png" for n in range(50)],
        [f"exp{n % 6}_num_{n * 911 % 99991}.jpg" for n in range(60)],
        [f"DSC{n:05}.JPG" for n in range(50)],
        ["a.png", "b.png"],
        [],
    ],
)
def test_plain_numbers_classes_and_times_are_no_groups(names):
    assert propose_groups(names) is None
