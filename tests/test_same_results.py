"""The comparison of two checkouts sees what differs, and nothing else."""

import pytest

from defectkit.files import write_csv, write_json


@pytest.fixture(scope="module")
def differences(benchmark_module):
    return benchmark_module("same_results").differences


@pytest.fixture
def folders(tmp_path):
    made = []
    for name, seconds in (("other", 1.5), ("this", 2.5)):
        folder = tmp_path / name
        write_csv(folder / "history.csv", ["epoch", "loss", "seconds"], [[1, 0.5, seconds]])
        metrics = {"image": {"auroc": 0.75}, "speed": {"ms": seconds}}
        write_json(folder / "metrics.json", metrics)
        (folder / "overlay.png").write_bytes(b"pixels")
        (folder / "curves.png").write_bytes(name.encode())
        made.append(folder)
    return made


def test_times_and_rounding_are_no_difference(differences, folders):
    write_json(folders[1] / "metrics.json", {"image": {"auroc": 0.75 + 1e-14}, "speed": {}})
    assert list(differences(*folders)) == []


def test_a_table_a_picture_a_number_and_a_missing_file_are(differences, folders):
    write_csv(folders[1] / "history.csv", ["epoch", "loss", "seconds"], [[1, 0.25, 1.5]])
    (folders[1] / "overlay.png").write_bytes(b"others")
    write_json(folders[1] / "metrics.json", {"image": {"auroc": 0.75001}})
    (folders[0] / "weights.safetensors").write_bytes(b"weights")
    assert list(differences(*folders)) == [
        "history.csv: the tables differ",
        "metrics.json: image: auroc: 0.75 and 0.75001",
        "overlay.png: the bytes differ",
        "weights.safetensors is missing",
    ]
