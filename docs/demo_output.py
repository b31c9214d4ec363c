"""What ``make demo`` printed at its end: kept as numbers, shown as the code prints them now.

python docs/demo_output.py    # after "make demo": keep what was measured
python docs/generate_pages.py
"""

import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console

from defectkit.deployment.evaluate_images import Evaluation
from defectkit.evaluation.thresholds import Thresholds
from defectkit.reporting import evaluation_folder
from defectkit.reporting.evaluation_summary import print_evaluation
from defectkit.tables import make_table

KEPT = Path(__file__).parent / "tutorials" / "sample-data.json"
RUN = Path("demo/run")
WIDTH = 80


def main() -> None:
    """Evaluate the run of the demo again, and keep all that its summary is printed from."""
    from defectkit import evaluate

    with patch.object(evaluation_folder, "print_evaluation", wraps=print_evaluation) as printed:
        evaluate(RUN)
    (_, evaluation, thresholds, warnings), options = printed.call_args
    kept = {
        "metrics": evaluation.metrics,
        "thresholds": thresholds.to_dict(),
        "warnings": warnings,
        "images": len(evaluation.images),
        "folder": evaluation.folder.as_posix(),
        "options": options,
    }
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def demo_output() -> str:
    """Return what was printed, as the code prints it now, in a block of text."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    evaluation = Evaluation(
        metrics=kept["metrics"],
        images=make_table([{"image_id": str(number)} for number in range(kept["images"])]),
        regions=make_table([]),
        folder=Path(kept["folder"]),
    )
    console = Console(file=io.StringIO(), width=WIDTH)
    print_evaluation(
        console,
        evaluation,
        Thresholds.from_dict(kept["thresholds"]),
        kept["warnings"],
        **kept["options"],
    )
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


if __name__ == "__main__":
    main()
