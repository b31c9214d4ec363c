"""The encoding of untrusted text: said by its first bytes, UTF-8, or the most plausible one.

Nearly any bytes are text in each of the older encodings, so that a German class name read as
Chinese is a Chinese one. Read in the right encoding, characters are common ones in their usual
neighborhood; read in another, they are rare, or letters among symbols.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from defectkit.errors import LabelError

MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
"""The byte order marks, longer ones first."""
MIN_PLAUSIBLE = 0.6
"""Min. fraction of plausible characters of an encoding that is not declared."""
MAX_SAMPLED = 20_000
"""Max. number of characters that are looked at."""
MAX_MIXED = 0.7
"""Where more of the other bytes than this are valid UTF-8, a text is a damaged or mixed one."""
MIN_KOREAN = 8
"""From so many different characters on, all of them in Korean's part of a table are no chance."""

NOT_ASCII = re.compile(r"[^\x00-\x7f]")
LATIN = re.compile(r"[A-Za-z]")
CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f]")
UTF8 = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A text, and the encoding it was read in; ``example`` is a word that shows it, or ""."""

    text: str
    encoding: str
    example: str = ""


@dataclass(slots=True)
class Encodings:
    """Decodes the files of one source, and remembers which were not UTF-8."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def decode(self, content: bytes, name: str, *, declared: str = "") -> str:
        """Return the text of a file, as ``decode_text``."""
        decoded = decode_text(content, name, declared=declared)
        self.counts[decoded.encoding] += 1
        if decoded.example:
            self.examples.setdefault(decoded.encoding, decoded.example)
        return decoded.text

    @property
    def common(self) -> str:
        """The encoding of most files."""
        return self.counts.most_common(1)[0][0] if self.counts else "utf-8"

    def notes(self) -> list[str]:
        """Return a sentence for each encoding that was read from the bytes themselves."""
        return [
            f"not UTF-8: the text of {count} file{'s' * (count > 1)} was read as {encoding}, for "
            f"example {example!r}. If that is wrong, save it as UTF-8"
            for encoding, example in self.examples.items()
            for count in [self.counts[encoding]]
        ]


def decode_text(content: bytes, name: str, *, declared: str = "") -> DecodedText:
    """Decode the text of the file ``name``.

    Args:
        content: its bytes; a byte order mark is removed.
        name: for errors.
        declared: what the file itself says of its encoding, as XML does; tried after UTF-8.

    Raises:
        LabelError: it is not text, or no encoding is plausible.
    """
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], name, encoding)
    if encoding := _plain_utf16(content):
        return _decoded(content, name, encoding)
    try:
        return DecodedText(content.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    if declared:
        return _decoded(content, name, declared)
    scored = [
        (plausible(text), encoding, text)
        for encoding, plausible in CANDIDATES.items()
        if (text := _try(content, encoding)) is not None
    ]
    score, encoding, text = max(scored, key=lambda one: one[0], default=(0.0, "", ""))
    if score < MIN_PLAUSIBLE or CONTROL.search(text) or _is_mixed(content, encoding):
        raise LabelError(
            f"{name}:{line}: the text is neither UTF-8 nor plausible in one other encoding. "
            "Save it as UTF-8."
        )
    if encoding == "gb18030" and _may_be_korean(text):
        korean = _example(content.decode("euc_kr", "replace"))
        raise LabelError(
            f"{name}:{line}: the text may be Chinese (GB18030: {_example(text)!r}) or Korean "
            f"(EUC-KR: {korean!r}). Save it as UTF-8."
        )
    return DecodedText(text, encoding, _example(text))


def _example(text: str) -> str:
    """Return the first word that is not ASCII, or a part of it."""
    found = NOT_ASCII.search(text)
    if found is None:
        return ""
    before, after = text[: found.start()][-12:], text[found.start() :][:12]
    return re.split(r"[\s,;\"'<>]", before)[-1] + re.split(r"[\s,;\"'<>]", after)[0]


def _is_mixed(content: bytes, encoding: str) -> bool:
    """Return whether a part of the text is UTF-8.

    It is a line, which in encodings of single bytes is no chance, or most of the bytes.
    """
    if encoding.startswith("cp125") and any(map(_is_utf8, content.splitlines())):
        return True
    others = sum(byte > 0x7F for byte in content[: 10 * MAX_SAMPLED])
    return sum(map(len, UTF8.findall(content[: 10 * MAX_SAMPLED]))) > MAX_MIXED * others


def _is_utf8(line: bytes) -> bool:
    return not line.isascii() and _try(line, "utf-8") is not None


def _decoded(content: bytes, name: str, encoding: str) -> DecodedText:
    try:
        return DecodedText(content.decode(encoding), encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise LabelError(
            f"{name} says that it is {encoding} text, but is not ({error}). Save it as UTF-8."
        ) from error


def _plain_utf16(content: bytes) -> str:
    """Return which UTF-16 it is without a mark: every second byte of ASCII text is 0."""
    sample = content[: 2 * MAX_SAMPLED]
    half = len(sample) // 2
    zeros = [sample[first::2].count(0) for first in (0, 1)]
    if half < 2 or len(content) % 2 or min(zeros) or max(zeros) < 0.4 * half:
        return ""
    return "utf-16-be" if zeros[0] else "utf-16-le"


def _try(content: bytes, encoding: str) -> str | None:
    if 0 in content:
        return None
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _mean(text: str, plausible: Callable[[str, str, str], float]) -> float:
    """Return the mean of ``plausible``, from 0 to 1, of the characters that are not ASCII.

    It is asked for each with the characters before and after it, "" at the ends.
    """
    places = [found.start() for found in islice(NOT_ASCII.finditer(text), MAX_SAMPLED)]
    seen = Counter((text[max(0, at - 1) : at], text[at], text[at + 1 : at + 2]) for at in places)
    return sum(plausible(*key) * count for key, count in seen.items()) / max(1, seen.total())


def _lead(character: str, encoding: str) -> int:
    """Return the first of a character's two bytes, 0 if it has no two."""
    try:
        encoded = character.encode(encoding)
    except UnicodeEncodeError:
        return 0
    return encoded[0] if len(encoded) == 2 else 0


def _of_table(encoding: str, common: range, rare: range, further: str) -> Callable[[str], float]:
    """Return what scores a text of two-byte characters.

    Common ones have a first byte in ``common`` and count in full, those in ``rare`` by half, as
    does one alone within a Latin word. ``further`` are others that count: punctuation, syllables.
    """

    def plausible(before: str, character: str, after: str) -> float:
        if re.match(further, character):
            return 1.0
        lead = _lead(character, encoding)
        score = 1.0 if lead in common else 0.5 if lead in rare else 0.0
        return score / 2 if LATIN.match(before) and LATIN.match(after) else score

    return lambda text: _mean(text, plausible)


def _of_letters(letters: str, near: str) -> Callable[[str], float]:
    """Return what scores a text of single bytes: letters stand within words, symbols outside.

    A letter has one of ``near`` beside it, and a capital one does not follow a small one.
    """
    neighbor = re.compile(f"[{near}]")
    any_letter = re.compile(f"[{near}{letters}]")

    def plausible(before: str, character: str, after: str) -> float:
        n_letters = sum(bool(any_letter.match(other)) for other in (before, after))
        if not any_letter.match(character):
            return float(character in SYMBOLS and n_letters < 2)
        if character.isupper() and before.islower():
            return 0.0
        if n_letters == 0:  # A word of one letter: possible, but not usual.
            return 0.7
        return float(any(neighbor.match(other) for other in (before, after)))

    return lambda text: _mean(text, plausible)


PUNCTUATION = "[\u3000-\u3015\uff01-\uff5e\u2014\u2018-\u201d\u2026\u00b7\u00b0\u00d7\u2103]"
SYMBOLS = (
    "\u00a7\u00ab\u00b0\u00b1\u00b2\u00b3\u00b5\u00b7\u00bb\u00d8\u2013\u2019\u201c\u201d\u20ac"
)
WESTERN = "ÀÁÂÄÅÆÇÈÉÊËÍÎÑÒÓÔÕÖÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüœŒ"
CYRILLIC = "\u0410-\u044f\u0401\u0451"
CENTRAL = "ÁÂÄÇÉËÍÎÓÔÖÚÜÝßáâäçéëíîóôöúüýĂăĄąĆćČčĎďĘęĚěŁłŃńŇňŐőŘřŚśŞşŠšŢţŤťŮůŰűŹźŻżŽž"
# Of those that are equally plausible, the first.
CANDIDATES: dict[str, Callable[[str], float]] = {
    "gb18030": _of_table("gb2312", range(0xB0, 0xD8), range(0xD8, 0xF8), PUNCTUATION),
    "cp1252": _of_letters(WESTERN, "A-Za-z"),
    "cp1250": _of_letters(CENTRAL, "A-Za-z"),
    "cp932": _of_table("cp932", range(0x88, 0x98), range(0x98, 0xA0), "[\u3001-\u30ff]"),
    "big5": _of_table("big5", range(0xA4, 0xC7), range(0xC9, 0xFA), PUNCTUATION),
    "cp1251": _of_letters(CYRILLIC, CYRILLIC),
}
"""What says how plausible a text is that was decoded in an encoding, from 0 to 1."""


def _may_be_korean(text: str) -> bool:
    """Return whether all Chinese characters lie where Korean syllables do in EUC-KR.

    It is about half of the common ones.
    """
    leads = {character: _lead(character, "gb2312") for character in set(text[: 10 * MAX_SAMPLED])}
    common = [lead for lead in leads.values() if lead >= 0xB0]
    return len(common) >= MIN_KOREAN and max(common) <= 0xC8
