"""The protections that the scorecard takes out, one at a time, to see its checks fail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """In ``file``, ``old`` (which stands there once) becomes ``new``.

    ``removes`` says what that takes away; ``test``, if given, which of the check's tests must fail
    (as for pytest's ``-k``).
    """

    check: int
    removes: str
    file: str
    old: str
    new: str
    test: str = ""


BOXES = "defectkit/evaluation/boxes.py"
METRICS = "defectkit/evaluation/metrics.py"
CONVENTION = "defectkit/labels/convention.py"
RLE = "defectkit/labels/rle.py"
SCORING = "defectkit/evaluation/scoring.py"
TRAIN = "pipelines/train.py"
VERDICTS = "defectkit/evaluation/verdicts.py"
IMAGES = "defectkit/data/images.py"

MUTATIONS = (
    Mutation(
        3,
        "validation on the validation split",
        TRAIN,
        'validation_records = dataset.split("val")',
        'validation_records = dataset.split("test")',
    ),
    Mutation(
        8,
        "the limit of AUPRO",
        METRICS,
        "AUPRO_LIMIT = 0.3",
        "AUPRO_LIMIT = 0.31",
        test="aupro",
    ),
    Mutation(
        8,
        "steps of equal scores taken together",
        METRICS,
        "    marked = hits + _from_the_top(negative)[steps]",
        "    marked = hits + _from_the_top(negative)[steps] - negative[steps]",
        test="sklearn",
    ),
    Mutation(
        8,
        "a true box taken by one detection alone",
        BOXES,
        "        free[hits[place], taken[hits[place]]] = False",
        "        pass",
        test="pycocotools",
    ),
    Mutation(
        17,
        "the Dice of defective images alone",
        METRICS,
        "dice_defective_mean=_mean(self._defective_dice)",
        "dice_defective_mean=_mean(self._pair_dice)",
        1,
        "the check for what is no digit",
        RLE,
        'if rle.encode("ascii", "replace").translate(None, ALLOWED):',
        "if False:",
    ),
    Mutation(1, "the check for overlaps", RLE, "    if len(overlaps):\n", "    if False:\n"),
    Mutation(1, "the end of the image", RLE, "too_large | empty | early | late", "too_large"),
    Mutation(
        1,
        "the size that COCO's counts must fill",
        "defectkit/labels/coco_rle.py",
        "(lengths > size).any() or lengths.sum() != size:",
        "False:",
        "counts",
    ),
    Mutation(
        6,
        "annotations that are refused",
        "defectkit/labels/annotations.py",
        "            self.refuse(image_id, class_id, str(error))\n",
        "            return\n",
        "annotation",
    ),
    Mutation(
        6,
        "the row that is refused for its image's file",
        "defectkit/data/plan.py",
        "            plan.ledger += _refuse(rows, str(error))\n",
        "",
    ),
    Mutation(
        6,
        "ids as text",
        "defectkit/labels/table.py",
        '        class_id = "1"\n    rle =',
        '        class_id = "1"\n    image_id = image_id.lstrip("0")\n    rle =',
    ),
    Mutation(
        9,
        "the contradiction of a given order",
        CONVENTION,
        "if asked != likely and united and",
        "if False and",
    ),
    Mutation(
        9, "the contradiction of a given base", CONVENTION, "if told and int(asked)", "if 0 and int"
    ),
    Mutation(9, "the refusal of turned images", CONVENTION, "    if not united:", "    if False:"),
    Mutation(
        19,
        "the order read from the masks",
        CONVENTION,
        'likely: rle.Order = "row" if row > column else "column"',
        'likely: rle.Order = "column"',
    ),
    Mutation(
        19,
        "the base read from the runs",
        CONVENTION,
        "right = int(wrapping[0] > wrapping[1])",
        "right = 1",
    ),
    Mutation(
        18,
        "the order of pixels",
        RLE,
        'flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T',
        "flat.reshape(height, width)",
    ),
    Mutation(
        20,
        "pixels that are counted at the threshold the model has",
        "pipelines/evaluate.py",
        "threshold=model.approach.pixel_threshold)",
        "threshold=0.4)",
    ),
    Mutation(
        29,
        "each finding with its own image",
        SCORING,
        19,
        "pixels by their centers",
        "defectkit/labels/outlines.py",
        "rows = np.arange(np.ceil(low - 0.5), np.ceil(high - 0.5), dtype=np.intp)",
        "rows = np.arange(np.ceil(low), np.floor(high), dtype=np.intp)",
        "form",
    ),
    Mutation(
        29,
        "the order of findings in a batch",
        "defectkit/evaluation/scoring.py",
        "zip(batch, pairs, findings, strict=True)",
        "zip(batch, pairs, findings[::-1], strict=True)",
    ),
    Mutation(
        32,
        "an empty pair counted as 1",
        METRICS,
        "kaggle_dice_floor=self._empty_truths / pairs if pairs else None",
        "kaggle_dice_floor=0.0",
    ),
    Mutation(
        33,
        "a threshold below the defective scores where none is good",
        VERDICTS,
        "smallest * (1.0 - MARGIN)",
        "0.0",
        31,
        "boxes that are half-open",
        "defectkit/labels/regions.py",
        "(tuple(cv2.boundingRect(contour)), contour[:, 0])",
        "((*cv2.boundingRect(contour)[:3], cv2.boundingRect(contour)[3] - 1), contour[:, 0])",
        5,
        "the check of what model.json says",
        "defectkit/deployment/model.py",
        "            _Info.model_validate(info)\n",
        "",
        "selects_no_code",
    ),
    Mutation(
        5,
        "safetensors alone as given weights",
        "defectkit/models/encoders.py",
        "        state = load_file(file)\n",
        "        state = torch.load(file, map_location='cpu', weights_only=False)\n",
        "no_pretrained_weights",
    ),
    Mutation(
        5,
        "plain names of encoders",
        "defectkit/config.py",
        'if not re.fullmatch(r"\\w[\\w.-]*", name, re.ASCII):',
        "if not name:",
        "selects_no_code",
    ),
    Mutation(
        5,
        "the safe loader of YAML",
        "defectkit/config.py",
        "class _Loader(yaml.SafeLoader):",
        "class _Loader(yaml.UnsafeLoader):",
        "configurations_of_strangers",
    ),
    Mutation(
        10,
        "the refusal of files that lack pixels",
        IMAGES,
        "ImageFile.LOAD_TRUNCATED_IMAGES = False",
        "ImageFile.LOAD_TRUNCATED_IMAGES = True",
    ),
    Mutation(
        25,
        "the refusal of broken files",
        IMAGES,
        "except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:",
        "except KeyError as error:",
    ),
    Mutation(
        11,
        "reading without writing",
        "defectkit/data/survey.py",
        "content = read_content(job.path)",
        "content = read_content(job.path); job.path.touch()",
    ),
    Mutation(
        15,
        "the silence of albumentations",
        "defectkit/data/augment.py",
        'os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"',
        'os.environ["NO_ALBUMENTATIONS_UPDATE"] = ""',
    ),
    Mutation(
        16,
        "the refusal of links in a folder of images",
        "defectkit/data/sources.py",
        "        return Path(os.path.realpath(path)).is_relative_to(self.root)",
        "        return True",
        "label_table",
    ),
    Mutation(
        16,
        "the refusal of links in a folder to inspect",
        "pipelines/inspect.py",
        "if folder and not path.resolve().is_relative_to(folder.resolve()):",
        "if not path.name:",
        "folder_to_inspect",
    ),
    Mutation(26, "the limit on pixels", IMAGES, "MAX_PIXELS = 2**28", "MAX_PIXELS = 2**62"),
    Mutation(
        27,
        "the turn that EXIF asks for",
        IMAGES,
        "image = ImageOps.exif_transpose(opened)",
        "image = opened",
        "masks_lie_on_what_a_viewer_shows",
    ),
    Mutation(
        27,
        "the scale of 16-bit images",
        IMAGES,
        "((wide + 128) // 257).astype(np.uint8)",
        "(wide & 255).astype(np.uint8)",
        "test_golden_pixels",
    ),
    Mutation(
        28,
        "the escaping of what comes from data",
        "defectkit/reporting/page.py",
        "autoescape=True",
        "autoescape=False",
        "inert",
    ),
    Mutation(
        28,
        "the page's content security policy",
        "defectkit/reporting/templates/head.html",
        "default-src 'none'; img-src data:;",
        "default-src *; img-src *;",
        "asked_of_the_network",
    ),
    Mutation(
        30,
        "UTF-8 for what is read",
        "defectkit/files.py",
        'with Path(path).open(encoding="utf-8", newline="") as handle:',
        'with Path(path).open(encoding="ascii", newline="") as handle:',
    ),
    Mutation(
        34,
        "weights_only for a third party's pickle",
        "defectkit/models/encoders.py",
        'map_location="cpu", weights_only=True)',
        'map_location="cpu", weights_only=False)',
    ),
    Mutation(
        34,
        "the safe loader of YAML",
        "defectkit/config.py",
        "class _Loader(yaml.SafeLoader):",
        "class _Loader(yaml.UnsafeLoader):",
    ),
    Mutation(34, "the lower bound of torch", "pyproject.toml", '"torch>=2.10"', '"torch>=2.4"'),
    Mutation(
        35,
        "the masks in a dataset's fingerprint",
        "defectkit/data/dataset.py",
        "{sha256_file(self.folder / 'masks.csv')}",
        "",
        "seen_by_what_was_trained",
    ),
    Mutation(
        35,
        "the hash of an image that is read",
        "defectkit/data/dataset.py",
        "if self.sha256 and sha256_bytes(content) != self.sha256:",
        "if not self.sha256:",
        "image_edited_in_place",
    ),
    Mutation(
        37,
        "the hashes of wheels",
        "benchmarks/wheelhouse.py",
        " --hash=sha256:{self.sha256}",
        "",
    ),
    Mutation(
        38,
        "the quote before formulas",
        "defectkit/files.py",
        'return "\'" + cell\n',
        "return cell\n",
    ),
    Mutation(
        38,
        "taking the quote away in label files",
        "defectkit/labels/csv_text.py",
        "[unquoted(cell.strip()) for cell in next(reader)]",
        "[cell.strip() for cell in next(reader)]",
    ),
)
