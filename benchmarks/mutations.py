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


RLE = "defectkit/labels/rle.py"
FILES = "defectkit/files.py"
LOOP = "defectkit/training/loop.py"
CHECKPOINT = "defectkit/training/checkpoint.py"
FAILURES = "defectkit/training/failures.py"

MUTATIONS = (
    Mutation(
        2,
        "writing beside the file",
        FILES,
        "temp = _temp_beside(target)",
        "temp = target",
        "operation",
    ),
    Mutation(
        2,
        "strays removed at the start",
        FILES,
        "if owned or time.time()",
        "if time.time()",
        "operation",
    ),
    Mutation(
        2,
        "starting anew without a state",
        "pipelines/train.py",
        'resume and has_checkpoint(out / "checkpoints")',
        "resume",
        "first_epoch and half",
    ),
    Mutation(
        7,
        "random numbers keyed by epoch",
        LOOP,
        "torch.manual_seed(_key(seed, epoch))",
        "pass",
    ),
    Mutation(
        7,
        "the optimizer's state",
        CHECKPOINT,
        '    optimizer.load_state_dict(_unflatten(groups, _below(tensors, "optimizer."), scalars))',
        "    assert groups and scalars is not None",
    ),
    Mutation(
        12,
        "the exit status of a full disk",
        FILES,
        "NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}",
        "NO_ROOM = {0}",
        "test_a_file_system",
    ),
    Mutation(
        12,
        "removal of what a full disk cut short",
        FILES,
        "    except OSError as error:\n        _remove(temp)",
        "    except OSError as error:",
        "test_a_file_system",
    ),
    Mutation(
        13,
        "the proof that a folder can be written",
        FILES,
        '    write_bytes(probe, b"")\n',
        "",
        "train and proc",
    ),
    Mutation(
        13,
        "the proof of the folders below",
        "defectkit/training/runs.py",
        "for folder in (run, *(run / name for name in FOLDERS)):",
        "for folder in (run,):",
        "part_of_a_run",
    ),
    Mutation(
        14,
        "the SHA-256 of the tensors",
        CHECKPOINT,
        'if numbers["sha256"] != sha256_bytes(content):',
        "if not content:",
    ),
    Mutation(
        14,
        "the SHA-256 of the numbers",
        CHECKPOINT,
        'if numbers.pop("seal") != _seal(numbers):',
        'if not numbers.pop("seal"):',
    ),
    Mutation(
        22,
        "samples keyed by the seed",
        "defectkit/approaches/crops.py",
        "rng = np.random.default_rng([self.config.seed, *key])\n        record, near_defect",
        "rng = np.random.default_rng()\n        record, near_defect",
        "same_samples",
    ),
    Mutation(
        23,
        "samples keyed by the epoch",
        "defectkit/approaches/crops.py",
        "rng = np.random.default_rng([self.config.seed, *key])\n        record, near_defect",
        "rng = np.random.default_rng([self.config.seed, key[1]])\n        record, near_defect",
    ),
    Mutation(
        23,
        "a stream of its own for each change",
        "defectkit/data/augment.py",
        "transform.set_random_seed(own)",
        "transform.set_random_seed(int(seeds[0]) + 0 * own)",
    ),
    Mutation(
        24,
        "the sync before the rename",
        FILES,
        "            os.fsync(handle.fileno())",
        "            handle.fileno()",
        "test_bytes",
    ),
    Mutation(
        24,
        "the sync of the folder",
        FILES,
        "        _sync_folder(target.parent)",
        "        pass",
        "test_bytes",
    ),
    Mutation(
        36,
        "the exit status of NaN",
        LOOP,
        "if not math.isfinite(loss):",
        "if loss is None:",
        "ends_a_training and NaN",
    ),
    Mutation(
        36,
        "the naming of a lack of memory",
        FAILURES,
        "    if isinstance(error, MemoryError | torch.OutOfMemoryError):",
        "    if isinstance(error, KeyError):",
        "test_a_real_lack",
    ),
    Mutation(
        36,
        "the naming of a dead loader process",
        FAILURES,
        'if text.startswith("DataLoader worker"):',
        "if not text:",
        "test_a_dead_loader",
    ),
    Mutation(
        36,
        "the orderly end on SIGTERM",
        "defectkit/cli.py",
        "    sys.exit(TERMINATED)",
        "    return",
        "test_a_signal_has",
    ),
    Mutation(
        18,
        "the order of pixels",
        RLE,
        'flat.reshape(height, width) if order == "row" else flat.reshape(width, height).T',
        "flat.reshape(height, width)",
    ),
)
