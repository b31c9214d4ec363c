import pytest

from defectkit.errors import LabelError
from defectkit.labels.formats.text_encoding import Encodings, decode_text

WORDS = {
    "gb18030": ["划痕", "凹坑,轴承", "轴", "裂纹 A级", "镀层脱落", "气孔x", "图像 1.png"],
    "cp1252": ["Öltropfen", "Fräsriss", "Größe", "Maß", "Öl", "GRÖSSE", "été", "pièce rayée",
               "créée", "señal", "fissure à chaud", "Blase 5°", "Kratzer 3 µm", "Schweißnaht"],
    "cp1250": ["głęboka rysa", "škrábanec"],
    "cp932": ["キズ", "打痕", "欠け,割れ"],
    "big5": ["刮傷,凹陷,裂痕", "髒污"],
    "cp1251": ["царапина", "Трещина", "скол,вмятина"],
}  # fmt: skip


@pytest.mark.check(45)
@pytest.mark.parametrize(
    ("encoding", "word"), [(e, w) for e, words in WORDS.items() for w in words]
)
@pytest.mark.parametrize("around", ["{}", "ImageId,ClassId\na.png,{},1 3\n", '[{{"name": "{}"}}]'])
def test_text_is_read_in_its_own_encoding(encoding, word, around):
    text = around.format(word)
    decoded = decode_text(text.encode(encoding), "labels.csv")
    assert decoded.text == text
    assert decoded.encoding == encoding
    assert decoded.example.strip("5° 3[]") in word
    assert decoded.example


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("text", ["ImageId,x\n划痕,Öl\n", "plain text alone"])
def test_unicode_is_read_with_a_mark_and_without(encoding, text):
    decoded = decode_text(text.encode(encoding), "labels.csv")
    assert decoded.text == text
    assert (decoded.encoding[:5], decoded.example) == (encoding[:5], "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff", "labels.csv:1: the text is neither UTF-8"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "plausible in one other encoding. Save it as UTF-8"),
        ("übergröße".encode() + b"\n\xe4h", "labels.csv:2: the text is neither"),
        ("찍힘,기포,이물,오염,얼룩".encode("euc_kr"), "may be Chinese .* or Korean .*'찍힘'"),
        (b"\xff\xfea", "says that it is utf-16-le text, but is not"),
        (b"a\xe4\x01b", "neither UTF-8"),
    ],
)
def test_what_is_plausible_in_no_encoding_or_in_two_is_refused(content, message):
    with pytest.raises(LabelError, match=message):
        decode_text(content, "labels.csv")


def test_what_a_file_declares_counts_after_utf8():
    assert decode_text("Öl".encode("cp1252"), "a", declared="cp1252").text == "Öl"
    assert decode_text("Öl".encode(), "a", declared="cp1252").text == "Öl"
    with pytest.raises(LabelError, match="a says that it is ascii text, but is not"):
        decode_text("Öl".encode("cp1252"), "a", declared="ascii")


def test_what_was_not_utf8_is_said_once_for_all_files():
    encodings = Encodings()
    for text in ("Öl", "Übermaß", "plain", "Fräsriss"):
        encodings.decode(text.encode("cp1252"), "a")
    assert encodings.common == "cp1252"
    assert encodings.notes() == [
        "not UTF-8: the text of 3 files was read as cp1252, for example 'Öl'. If that is wrong, "
        "save it as UTF-8"
    ]
    assert Encodings().notes() == []


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251"])
def test_lines_in_utf8_among_others_are_refused(encoding):
    word = "\u00d6l" if encoding == "cp1252" else "\u0434\u0435\u0444"
    mixed = word.encode(encoding) + b"\n" + word.encode()
    with pytest.raises(LabelError, match="neither UTF-8 nor plausible in one other encoding"):
        decode_text(mixed * 9, "labels.csv")
    assert decode_text(word.encode(encoding), "labels.csv").text == word
