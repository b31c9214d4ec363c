"""The merge of the shards of an evaluation: byte for byte what a single process writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from defectkit import shards
from defectkit.deployment.data_to_evaluate import load_data_to_evaluate
from defectkit.deployment.evaluate_images import Evaluation
from defectkit.deployment.load_model import load_model
from defectkit.errors import ConfigError, shown
from defectkit.reporting.evaluation_folder import open_evaluation, write_evaluation
from defectkit.reporting.evaluation_pictures import DrawnImages
from defectkit.reporting.evaluation_progress import ONLY_WHERE_JUDGED, describe_evaluation
from defectkit.reporting.evaluation_shards import join_shards, read_kept
from defectkit.reporting.html.page_images import PICTURES
from defectkit.shards import WrittenShard


def merge_evaluation(out: Path, written: Sequence[WrittenShard], console: Console) -> Evaluation:
    """Write the evaluation in ``out`` that the shards are of, and return it.

    Args:
        out: the folder of the evaluation in its run.
        written: all shards, by their numbers.
        console: where to report.

    Raises:
        ConfigError: an image is missing or in two shards, a shard is damaged, or model or data were
            changed since.
        OutputError: the folder cannot be written.
        DefectkitError: the run or its dataset is missing.
    """
    content = written[0].content
    run = _run_of(out, content["run"])
    model = load_model(run, device="cpu")
    data = load_data_to_evaluate(
        run,
        model,
        data=Path(content["data"]) if content["data"] else None,
        split=content["split"],
        map_class=content["map_class"],
    )
    all_regions, overlays = content["all_regions"], content["overlays"]
    _check_unchanged(
        written[0], describe_evaluation(model, data, all_regions=all_regions, overlays=overlays)
    )
    kept = read_kept(written, data, range(len(data.records)))
    drawn = DrawnImages(overlays)
    for image in kept:
        drawn.take(image.row["image_id"], image.row["outcome"])
    with open_evaluation(run, data) as results, shards.remove_if_failed(results, [PICTURES]):
        for one in written:
            for name in one.files:
                folder, _, file = name.partition("/")
                whole = file.removesuffix(".preview.jpg") + ".png"
                if folder == PICTURES or file in drawn.names or whole in drawn.names:
                    shards.link_file(one.folder / name, results.folder / name)
        return write_evaluation(
            results,
            run,
            model,
            data,
            join_shards(written, kept, model),
            page_images={image.row["image_id"]: image.page for image in kept},
            n_overlays=len(drawn.names),
            all_regions=all_regions,
            console=console,
        )


def _run_of(out: Path, recorded: str) -> Path:
    """Return the run that an evaluation is in, by the path that ``evaluate`` got where it fits."""
    run = Path(recorded)
    own = out.parent.parent
    try:
        return run if run.samefile(own) else own
    except OSError:
        return own


def _check_unchanged(one: WrittenShard, now: Mapping[str, str]) -> None:
    for name, value in now.items():
        if name not in ONLY_WHERE_JUDGED and one.same.get(name) != value:
            raise ConfigError(
                f"the shards cannot be merged: {name} is {shown(value)} now, and was "
                f"{shown(one.same.get(name, ''))} when they were written. Evaluate all shards "
                "again, or merge with what they were written with."
            )
