"""The documentation is true: transcripts are run again, Python examples are doctests, each error has its page."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
from transcript_setups import SETUPS
from transcripts import environment, matches, read_page, run

from portable_backend import cli, errors
from portable_backend.strategies.container.engine_base import OutputLost

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_PAGES = sorted(_DOCS.rglob("*.md"))
_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.PortableBackendError)
}


def _name(page: Path) -> str:
    return page.relative_to(_DOCS).as_posix()


_WITH_TRANSCRIPTS = [page for page in _PAGES if any(not each.not_run for each in read_page(page)[1])]


@pytest.mark.skipif(sys.platform != "linux", reason="the pages show Linux")
@pytest.mark.parametrize("page", _WITH_TRANSCRIPTS, ids=_name)
def test_transcripts_say_what_the_commands_say(page: Path, tmp_path: Path) -> None:
    setups, transcripts = read_page(page)
    directory = tmp_path / "project"
    directory.mkdir()
    for name in setups:
        SETUPS[name](directory)
    environ = environment(tmp_path)
    wrong = [each for shown in transcripts if not shown.not_run for each in run(shown, directory, environ)]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(
    ("expected", "said", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["a", "b"], False),
        (["a", "…"], ["a", "b", "c"], True),
        (["…", "c"], ["a", "b", "c"], True),
        (["a … d"], ["a b c d"], True),
        (["a … d"], ["a b c"], False),
        (["a", "…", "d"], ["a", "d"], True),
        ([], ["a"], False),
        ([".*"], ["a"], False),
    ],
)
def test_an_ellipsis_stands_for_what_it_says(expected: list[str], said: list[str], same: bool) -> None:
    assert matches(tuple(expected), said) is same


_PYCON = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in _PAGES if _PYCON.search(page.read_text("utf-8"))], ids=_name)
def test_python_examples_are_true(page: Path) -> None:
    examples = "\n".join(_PYCON.findall(page.read_text(encoding="utf-8")))
    test = doctest.DocTestParser().get_doctest(examples, {}, _name(page), str(page), 0)
    said: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append).failed
    assert failed == 0, "".join(said)


# --- errors -------------------------------------------------------------------------------------------------------


def test_every_error_has_its_page_and_every_page_its_error() -> None:
    pages = {page.stem for page in (_DOCS / "reference" / "errors").glob("*.md")}
    assert pages == set(_ERRORS)


@pytest.mark.parametrize("name", sorted(_ERRORS))
def test_the_page_of_an_error_tells_its_exit_status_an_example_and_the_cure(name: str) -> None:
    page = _DOCS / "reference" / "errors" / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n\nExit status **{_ERRORS[name].exit_code}**.")
    assert "\n## An example\n" in text
    assert "\n## The cure\n" in text
    overview = (_DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    assert f"(errors/{name}.md)" in overview
    shown = [step for each in read_page(page)[1] for step in each.steps]
    own = f"  see: {errors.DOCUMENTATION}reference/errors/{name}/"
    if not issubclass(_ERRORS[name], (errors.ElfError, errors.EditRefused)) and name != "PortableBackendError":
        assert any(step.expected and step.expected[-1] == own for step in shown)
        assert shown[-1].expected == (str(_ERRORS[name].exit_code),)


def test_an_error_ends_with_the_address_of_its_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(b"")
    assert cli.main(["audit", "--json", str(tmp_path / "x-1-py3-none-any.whl")]) == 7
    said = capsys.readouterr()
    address = f"{errors.DOCUMENTATION}reference/errors/WheelError/"
    assert said.err.splitlines()[-1] == f"  see: {address}"
    assert len(said.err.splitlines()[-1]) < 80
    assert json.loads(said.out)["error"]["address"] == address


def test_an_error_of_another_module_is_explained_with_the_one_that_it_refines() -> None:
    assert OutputLost("x").address == errors.StrategyBlocked("y").address


def test_the_documentation_is_where_the_package_says() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Documentation"] == errors.DOCUMENTATION


# --- links --------------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#*$", re.MULTILINE)


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings: small letters, blanks as hyphens, no punctuation."""
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", found["text"]) for found in _HEADING.finditer(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", [*_PAGES, _ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for found in _LINK.finditer(re.sub(r"`[^`\n]*`", "", _prose(page))):
        path, _, anchor = found["target"].partition("#")
        if path.startswith(("https://", "http://", "mailto:")):
            continue
        there = (page.parent / path).resolve() if path else page
        inside = there == _ROOT or _ROOT in there.parents
        if not inside or not there.exists() or (anchor and anchor not in _anchors(there)):
            wrong.append(found["target"])
    assert wrong == []


def test_every_page_can_be_reached_from_the_first() -> None:
    text = (_DOCS / "index.md").read_text(encoding="utf-8")
    globbed = {line[:-2] for line in text.splitlines() if line.endswith("/*")}
    named = {f"{name}.md" for name in ("index", "benchmarks", "benchmarks-release", "tutorial/index")}
    assert [
        _name(page) for page in _PAGES if _name(page) not in named and str(Path(_name(page)).parent) not in globbed
    ] == []
