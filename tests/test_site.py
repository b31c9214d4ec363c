"""The built site: its links, the picture of the architecture, and the check of all pages."""

import inspect

import check_site
import draw_architecture
import pytest
from architecture_picture import draw_picture, levels_of

PAGE = '<html><head>{head}</head><body><h1 id="top">Title</h1>{body}</body></html>'


def faults(folder, head="", body="", **files):
    (folder / "index.html").write_text(PAGE.format(head=head, body=body))
    (folder / "other.html").write_text(PAGE.format(head="", body=""))
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return list(check_site.faults_of(folder))


def test_a_site_without_faults_has_none(tmp_path):
    body = (
        '<a href="other.html#top">a</a> <a href="#top">b</a> <a href="https://example.org">c</a>'
        '<img src="x.svg"><a href="data:text/plain,x">d</a> see https://example.org'
    )
    head = '<link rel="stylesheet" href="x.css"><link rel="canonical" href="https://example.org">'
    assert faults(tmp_path, head, body, x_svg="<svg/>", x_css="a { color: red }") == []


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (
            '<link rel="stylesheet" href="https://fonts.example/css">',
            "",
            "https://fonts.example/css",
        ),
        ('<script src="//cdn.example/x.js"></script>', "", "//cdn.example/x.js"),
        ('<script>load("https://cdn.example/x.js")</script>', "", "https://cdn.example/x.js"),
        ("<style>@import 'https://cdn.example/x.css'</style>", "", "https://cdn.example/x.css"),
        ("", '<img src="http://example.org/a.png">', "http://example.org/a.png"),
        ("", '<p style="background: url(https://example.org/a.png)">', "https://example.org/a.png"),
        ("", '<pre class="mermaid">flowchart</pre>', 'class="mermaid"'),
        ("", '<a href="gone.html">a</a>', "dead link gone.html"),
        ("", '<a href="other.html#gone">a</a>', "dead link other.html#gone"),
        ("", '<a href="#gone">a</a>', "dead link #gone"),
        ("", '<img src="gone.png">', "dead link gone.png"),
    ],
)
def test_a_planted_fault_is_seen(tmp_path, head, body, said):
    assert any(said in one for one in faults(tmp_path, head, body))


def test_requests_of_sheets_and_scripts_are_seen(tmp_path):
    assert faults(tmp_path, a_css="a { background: url(https://example.org/a.png) }") == [
        "a.css loads https://example.org/a.png"
    ]
    (tmp_path / "a.css").unlink()
    assert faults(tmp_path, a_js='fetch("https://cdn.example.org/a")') == [
        "a.js names https://cdn.example.org/a"
    ]


def test_an_empty_folder_is_no_site(tmp_path):
    assert list(check_site.faults_of(tmp_path)) == [f"{tmp_path} has no page"]


def test_the_picture_has_every_package_and_every_arrow():
    mermaid = draw_architecture.draw()
    picture = draw_picture(f"Above.\n\n```mermaid\n{mermaid}\n```\n\nBelow.")
    assert picture.startswith('Above.\n\n<div class="architecture">\n<svg')
    assert picture.endswith("</svg>\n</div>\n\nBelow.")
    assert picture.count("<rect") == mermaid.count("<b>")
    assert picture.count('class="arrow"') == mermaid.count(" --> ")
    assert "<b>the ground</b>" in picture


def test_what_imports_is_above():
    assert levels_of(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")]) == {
        "a": 0, "b": 1, "c": 2,
    }  # fmt: skip


def test_what_is_for_the_shell_is_left_out_of_the_page_of_python():
    from docstring_sections import without_shell

    from defectkit.pipelines import train

    text = without_shell(inspect.getdoc(train.run))
    assert "defectkit train" not in text
    assert "Exit status" not in text
    assert text.startswith("Train on a dataset and write a run")
    assert "Args:\n    approach: The approach" in text


RELINKED = [
    ("[a](docs/how-to/a.md#x)", "README.md", "index.md", "[a](how-to/a.md#x)"),
    ("![a](docs/a.png)", "README.md", "index.md", "![a](a.png)"),
    ("[a](../../benchmarks/quality.md)", "docs/explanation/a.md", "explanation/a.md",
     "[a](../benchmarks/quality.md)"),
    ("[a](../CHANGELOG.md)", "docs/a.md", "a.md", "[a](changelog.md)"),
    ("[a](b.md#c) [d](#e)", "docs/how-to/a.md", "how-to/a.md", "[a](b.md#c) [d](#e)"),
    ("[a](https://example.org/x)", "docs/a.md", "a.md", "[a](https://example.org/x)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "source", "site", "expected"), RELINKED)
def test_links_are_those_of_the_site(text, source, site, expected):
    from site_hooks import relink

    assert relink(text, source=source, site=site) == expected
