"""Inspections on a Ray cluster: byte for byte what one process writes, whatever is lost."""

import io
import re
import shutil
import time
from pathlib import Path

import pytest
from exported_models import write_exported
from file_hashes import hashes_of_results
from PIL import Image
from ray_cluster import needs_ray, ray_cluster
from rich.console import Console

import defectkit
from defectkit.data.image_search import ImageFile
from defectkit.errors import ConfigError, ModelError, WorkerError
from defectkit.reporting import ray_actors, ray_inspection
from defectkit.reporting.inspection import Inspected
from defectkit.reporting.ray_actors import InspectionActor, RayActors
from defectkit.reporting.ray_inspection import AHEAD, BATCH, _batches, open_ray_engine

on_a_cluster = [needs_ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes. Lose none: add one that may be lost."""
    with ray_cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def photos(source_csv, tmp_path_factory) -> Path:
    """Images, a damaged one, files of pages whose ids depend on each other, and a text."""
    folder = tmp_path_factory.mktemp("photos")
    sources = sorted((source_csv.parent / "Train").glob("*.png"))
    for number in range(6 * BATCH):
        shutil.copy(sources[number % len(sources)], folder / f"{number:03}.png")
    (folder / "cut.png").write_bytes(sources[0].read_bytes()[:200])
    first, *others = (Image.open(path) for path in sources[:3])
    for name in ("s.tif", "s.tif#", "stack.tif"):
        first.save(folder / name, "TIFF", save_all=True, append_images=others)
    shutil.copy(sources[0], folder / "s.tif#2")
    (folder / "notes.txt").write_text("no image")
    return folder


def inspect(model: Path, photos: Path, out: Path, **options) -> str:
    """Inspect with all overlays; return what was said."""
    console = Console(file=io.StringIO(), width=1000)
    defectkit.inspect(
        model, photos, out=out, device="cpu", overlays="all", console=console, **options
    )
    lines = console.file.getvalue().replace(str(out), "OUT").splitlines()
    # A cluster of a busy machine may be slow to begin.
    return "\n".join(one for one in lines if not one.startswith("waiting for the Ray cluster"))


@pytest.fixture(scope="module")
def whole(run_folder, photos, tmp_path_factory):
    """The inspection by one process, and what it said."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, inspect(run_folder, photos, out)


class TestOnACluster:
    pytestmark = on_a_cluster

    def test_it_is_that_of_one_process(self, cluster, run_folder, photos, whole, tmp_path):
        out = tmp_path / "out"
        said = inspect(run_folder, photos, out, engine="ray", address=cluster.address)
        assert hashes_of_results(out) == hashes_of_results(whole[0])
        assert said == whole[1]

    def test_it_goes_on_where_one_process_was_stopped(
        self, cluster, run_folder, photos, whole, tmp_path, monkeypatch
    ):
        written, add = [], Inspected.__init__

        def stop(*arguments, **options) -> None:
            written.append(1)
            if len(written) > BATCH + 3:
                raise KeyboardInterrupt
            add(*arguments, **options)

        out = tmp_path / "out"
        with monkeypatch.context() as patch:
            patch.setattr(Inspected, "__init__", stop)
            with pytest.raises(KeyboardInterrupt):
                inspect(run_folder, photos, out)
        options = {"engine": "ray", "address": cluster.address, "resume": True}
        said = inspect(run_folder, photos, out, **options)
        assert re.match(r"note: continues behind \d+ images that are done", said)
        assert hashes_of_results(out) == hashes_of_results(whole[0])

    def test_an_exported_model_needs_no_torch(self, cluster, photos, tmp_path, monkeypatch):
        exported = write_exported(tmp_path / "exported", channels=1)

        class Watched(InspectionActor):
            def inspect(self, *arguments):
                import sys

                assert "torch" not in sys.modules
                return super().inspect(*arguments)

        inspect(exported, photos, tmp_path / "whole")
        monkeypatch.setattr(ray_actors, "InspectionActor", Watched)
        inspect(exported, photos, tmp_path / "out", engine="ray", address=cluster.address)
        assert hashes_of_results(tmp_path / "out") == hashes_of_results(tmp_path / "whole")

    def test_the_work_of_a_lost_node_is_done_again(
        self, cluster, run_folder, photos, whole, tmp_path, monkeypatch
    ):
        node_is_lost = tmp_path / "lost"

        class Waiting(InspectionActor):
            def inspect(self, *arguments):
                import time

                while not node_is_lost.exists():
                    time.sleep(0.1)
                return super().inspect(*arguments)

        monkeypatch.setattr(ray_actors, "InspectionActor", Waiting)
        extra = cluster.add_node(num_cpus=1, num_gpus=0)
        cluster.wait_for_nodes()
        wait, lost = RayActors.wait, []

        def lose(actors: RayActors):
            done = wait(actors)
            # Each of the three nodes has an actor at work then.
            if not lost and sum(bool(one.batches) for one in actors.workers) == 3:
                lost.append(extra)
                cluster.remove_node(extra, allow_graceful=False)
                node_is_lost.touch()
            return done

        monkeypatch.setattr(RayActors, "wait", lose)
        monkeypatch.setattr(ray_inspection, "BATCH", 3)
        out = tmp_path / "out"
        said = inspect(run_folder, photos, out, engine="ray", address=cluster.address)
        assert lost
        assert said.count("its images are inspected again") == 1
        assert hashes_of_results(out) == hashes_of_results(whole[0])

    def test_images_that_end_actors_are_named(
        self, cluster, run_folder, photos, tmp_path, monkeypatch
    ):
        class Deadly(InspectionActor):
            def inspect(self, files, *arguments):
                import os

                if any(file.image_id == "010.png" for file in files):
                    os._exit(1)
                return super().inspect(files, *arguments)

        monkeypatch.setattr(ray_actors, "InspectionActor", Deadly)
        with pytest.raises(WorkerError, match=r"3 actors were lost .* images: .*010\.png"):
            inspect(run_folder, photos, tmp_path / "out", engine="ray", address=cluster.address)

    def test_a_slow_batch_lets_the_others_run_ahead_only_so_far(
        self, cluster, run_folder, quiet, monkeypatch
    ):
        class SlowAtFirst(InspectionActor):
            def inspect(self, files, *_):
                import time

                time.sleep(60 if files[0].number == 1 else 0)
                return []

        monkeypatch.setattr(ray_actors, "InspectionActor", SlowAtFirst)
        dealt, submit = [], RayActors.submit

        def counted(self, worker, batch, *arguments):
            dealt.append(batch)
            submit(self, worker, batch, *arguments)

        monkeypatch.setattr(RayActors, "submit", counted)
        files = [
            ImageFile(image_id=f"{number}.png", path=Path("x"), number=number)
            for number in range(1, 100 * BATCH)
        ]
        address = cluster.address
        with open_ray_engine(run_folder, device="cpu", address=address, console=quiet) as engine:
            images = engine.inspect(files, None, ids=(), done=0, watch=lambda *_: None)
            wait, both_there = RayActors.wait, []

            def stop(self):
                both_there.extend([time.monotonic()] if len(self.workers) == 2 else [])
                if both_there and time.monotonic() > both_there[0] + 3:
                    raise KeyboardInterrupt
                return wait(self)

            monkeypatch.setattr(RayActors, "wait", stop)
            with pytest.raises(KeyboardInterrupt):
                next(images)
        assert dealt == [*range(1 + 2 * AHEAD)]

    def test_nodes_with_other_packages_are_refused(
        self, cluster, run_folder, photos, tmp_path, monkeypatch
    ):
        class Other(InspectionActor):
            def inspect(self, *arguments):
                import time

                time.sleep(1)  # until the other one is there
                return super().inspect(*arguments)

            def load(self, *arguments):
                import os
                from dataclasses import replace

                model = super().load(*arguments)
                described = {**model.described, "packages": f"numpy {os.getpid()}"}
                return replace(model, described=described)

        monkeypatch.setattr(ray_actors, "InspectionActor", Other)
        with pytest.raises(ConfigError, match=r"packages is 'numpy \d+' in .* Install the same"):
            inspect(run_folder, photos, tmp_path / "out", engine="ray", address=cluster.address)

    def test_what_an_actor_raises_is_told_as_by_one_process(
        self, cluster, run_copy, photos, tmp_path
    ):
        (run_copy / "model" / "model.safetensors").write_bytes(b"damaged")
        with pytest.raises(ModelError) as alone:
            inspect(run_copy, photos, tmp_path / "out")
        with pytest.raises(ModelError) as by_ray:
            inspect(run_copy, photos, tmp_path / "out", engine="ray", address=cluster.address)
        assert str(by_ray.value) == str(alone.value)

    def test_a_cluster_without_room_is_told(self, cluster, run_folder, monkeypatch):
        monkeypatch.setattr(ray_actors, "SECONDS_TO_TELL", 0.5)
        monkeypatch.setattr(ray_actors, "SECONDS_FOR_ACTOR", 1.5)
        console = Console(file=io.StringIO(), width=1000)
        wanted = "it has 2 CPU, 0 GPU, and an actor needs 1 CPU and 1 GPU"
        options = {"device": "cuda", "address": cluster.address, "console": console}
        with (
            pytest.raises(WorkerError, match=f"no actor for 2 s: {wanted}"),
            open_ray_engine(run_folder, **options),
        ):
            pass
        assert console.file.getvalue() == f"waiting for the Ray cluster: {wanted}\n"


def test_an_address_without_the_engine_is_refused(cli, run_folder, photos):
    done = cli("inspect", run_folder, photos, "--address", "auto")
    assert done.code == 2
    assert "--address 'auto' is that of a Ray cluster. Add --engine ray" in done.err


def test_files_whose_pages_depend_on_each_other_share_a_batch():
    names = ["s.tif", *(f"{number}.png" for number in range(2 * BATCH)), "s.tif##", "s.tif#"]
    files = [ImageFile(image_id=name, path=Path(name)) for name in names]
    batches = [[file.image_id for file in batch] for batch in _batches(files)]
    assert batches[0][:3] == ["s.tif", "s.tif##", "s.tif#"]
    assert sorted(name for batch in batches for name in batch) == sorted(names)
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 3]
