"""The fuzz of the whole command line: random calls on a folder of good, odd and hostile files.

    python tests/helpers/command_fuzz.py --first 0 --cases 1000
    python tests/helpers/command_fuzz.py --first 417 --cases 1 --keep

A case is a fresh copy of the place (``fuzz_place.py``), some damage to it, and one to three calls
(``fuzz_calls.py``), each judged (``fuzz_oracle.py``). The number of a case is the key of its draws.
"""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from forked_command import Outcome, call_forked, open_server, run_forked
from fuzz_calls import Call, damage, draw_call
from fuzz_oracle import State, judge_files, judge_results
from fuzz_place import Place, build_place, snapshot


@dataclass
class CaseError(Exception):
    """What was wrong after a call, and how it came to it."""

    number: int
    damaged: Sequence[str]
    calls: Sequence[Call]
    outcome: Outcome
    problems: Sequence[str]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"case {self.number}: {'; '.join(self.problems)}",
                *(f"  damaged: {one}" for one in self.damaged),
                *(f"  {call}" for call in self.calls),
                f"  status {self.outcome.status} after {self.outcome.seconds:.1f} s, printed:",
                *(f"  | {line}" for line in self.outcome.text.splitlines()[-12:]),
            ]
        )


class CommandFuzz:
    """The place and the process whose forks run the commands.

    ``ended`` counts the calls by command and exit status.
    """

    def __init__(self, folder: Path) -> None:
        self.context = open_server()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.place = Place(folder)
        build_place(self.place, self._succeed)

    def _succeed(self, *arguments: object) -> None:
        outcome = run_forked(self.context, [str(one) for one in arguments], self.place.case)
        assert outcome.status == 0, f"{arguments}: {outcome.text}"

    def try_case(self, number: int) -> None:
        """Run the calls of a case.

        Raises:
            CaseError: one does not keep what is promised.
        """
        rng, place = Random(number), self.place
        place.renew()
        state = State(dict(place.owners))
        for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
            state.damaged.append(damage(rng, place.case, state.owners))
        calls: list[Call] = []
        made: list[str] = []
        for _ in range(rng.choice([1, 2, 2, 3])):
            calls.append(draw_call(number, rng, place, made, calls[-1] if calls else None))
            outcome, problems, state = self.judge(calls[-1], state)
            if problems:
                raise CaseError(number, state.damaged, calls, outcome, problems)
            made += [calls[-1].values["out"]] if calls[-1].values.get("out") else []

    def judge(self, call: Call, state: State) -> tuple[Outcome, list[str], State]:
        """Run a call; return how it ended, what is wrong, and what is known from then on."""
        place, before = self.place, snapshot(self.place.case)
        outcome = self.run(call)
        after = snapshot(place.case)
        problems = list(judge_files(call, outcome, state, before, after, place.case))
        changed = [name for name, entry in after.items() if before.get(name) != entry]
        told, state = call_forked(self.context, _judge, call, outcome.status, state, changed, place)
        return outcome, problems + told, state

    def run(self, call: Call) -> Outcome:
        outcome = run_forked(
            self.context, call.arguments, self.place.case,
            kill=call.kill, max_file_bytes=call.max_file_bytes,
        )  # fmt: skip
        self.ended[call.command, outcome.status] += 1
        return outcome


def _judge(
    call: Call, status: int, state: State, changed: list[str], place: Place
) -> tuple[list[str], State]:
    return judge_results(call, status, state, changed, place), state


def main() -> None:
    """Try cases; print each failure and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after these")
    parser.add_argument("--folder", type=Path, help="where to work; what failed last stays there")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="defectkit-fuzz-"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    fuzz, failures = CommandFuzz(folder.resolve()), 0
    print(f"the place was made in {time.monotonic() - start:.0f} s", flush=True)
    for number in range(options.first, options.first + options.cases):
        if time.monotonic() - start > options.seconds:
            break
        try:
            fuzz.try_case(number)
        except CaseError as error:
            failures += 1
            print(error, flush=True)
    for (command, status), times in sorted(fuzz.ended.items()):
        print(f"{times:6} {command}, status {status}")
    seconds = time.monotonic() - start
    print(f"{fuzz.ended.total()} calls, {failures} failures, {seconds:.0f} s; {folder}")


if __name__ == "__main__":
    main()
