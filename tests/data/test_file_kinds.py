import io

import numpy as np
import pytest
from PIL import Image

from defectkit.data.file_kinds import has_image, is_document

GRAY = np.full((9, 9), 70, np.uint8)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, kind)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, GRAY)
    return buffer.getvalue()


IMAGES = {
    **{kind: encoded(kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000")},
    "PGM": encoded("PPM"),
    "NPY": npy(),
    "cut PNG": encoded("PNG")[:20],
}


OTHERS = (b"", b"P5 is good", b"BMW 17\n", b"RIFF\0\0\0\0WAVE", b"%PDF-1.4")


@pytest.mark.check(53)
@pytest.mark.parametrize("kind", IMAGES)
def test_images_are_known_by_their_first_bytes(kind, tmp_path):
    (tmp_path / "x").write_bytes(IMAGES[kind])
    assert has_image(tmp_path / "x")


@pytest.mark.parametrize("text", OTHERS)
def test_other_files_are_no_images(text, tmp_path):
    (tmp_path / "x").write_bytes(text)
    assert not has_image(tmp_path / "x")


def test_documents_are_known_by_their_names():
    assert all(map(is_document, ("in/notes.TXT", "a.csv", "README", "line 2/labels.json")))
    assert not any(map(is_document, ("a.png", "part", "b.heic", "txt", "c.csv.gz")))
