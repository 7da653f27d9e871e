"""``audit`` with ``--explain``, ``--html``, ``--diff``: what a user sees, and what hostile wheels cannot do to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Optional

import jsonschema
import pytest
from broken_projects import native, stub
from command_line import entries, refuse, run
from wheel_maker import (
    MACHINE,
    RAW_NAME,
    X86_NAME,
    command,
    environment,
    libc_extension,
    make_wheel,
    needs_cc,
    read_members,
    run_command,
    shared,
)

from portable_backend.auditing.finding import KINDS

Capture = pytest.CaptureFixture[str]
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "reference" / "audit.schema.json").read_text(encoding="utf-8")
)
VALID = jsonschema.Draft202012Validator(SCHEMA)
on_x86_64 = pytest.mark.skipif(sys.platform != "linux" or MACHINE != "x86_64", reason="compiles for x86-64")


@pytest.fixture(autouse=True)
def no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def broken(directory: Path, name: str = X86_NAME, **files: bytes) -> Path:
    """A wheel with a symbol that is too new, a missing library, and an rpath that leads outside."""
    data = libc_extension("GLIBC_2.28", needed=["libfoo.so.1"], runpath="/opt")
    return make_wheel(directory, {"demo/ext.so": data, "demo/libold.so": shared(soname="libold.so"), **files}, name)


def schema_of(text: str) -> Any:
    data = json.loads(text)
    VALID.validate(data)
    return data


# --- the schema --------------------------------------------------------------------------------------------------


def test_the_schema_is_one_and_knows_every_kind() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]["finding"]["properties"]["kind"]["enum"]) == set(KINDS)


def test_what_is_printed_is_valid(tmp_path: Path, capsys: Capture) -> None:
    made = [
        broken(tmp_path / "broken"),
        broken(tmp_path / "claims", X86_NAME.replace("linux", "manylinux1")),
        make_wheel(tmp_path / "musl", {"demo/ext.so": libc_extension()}, X86_NAME.replace("linux", "musllinux_1_2")),
        make_wheel(tmp_path / "pure", {"demo/x.py": b""}, "demo-1.0-py3-none-any.whl", purelib=True),
        make_wheel(tmp_path / "damaged", {"demo/ext.so": libc_extension()}, drop=["METADATA"]),
        make_wheel(tmp_path / "malformed", {"demo/ext.so": b"\x7fELF\x02\x01\x01" + bytes(20)}),
    ]
    for options in ([], ["--explain"]):
        outcome = run(capsys, "audit", "--json", *options, *made)
        lines = [schema_of(line) for line in outcome.out.splitlines()]
        assert [line["wheel"] for line in lines] == [path.name for path in made]
        assert [("explanation" in line) for line in lines] == [bool(options)] * 4 + [False, bool(options)]
    for new in made[:4]:
        schema_of(run(capsys, "audit", "--json", "--diff", made[0], new).out)
    schema_of(run(capsys, "audit", "--json", "--diff", made[0], made[4]).out)


@pytest.mark.parametrize(
    "damage", [{"version": 2}, {"policy": None}, {"findings": [{"kind": "nonsense"}]}, {"claimed": "linux_x86_64"}]
)
def test_the_schema_refuses_another_shape(damage: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    data = {**schema_of(run(capsys, "audit", "--json", broken(tmp_path)).out), **damage}
    assert not VALID.is_valid(data)


def test_explaining_adds_a_key_and_changes_no_other(tmp_path: Path, capsys: Capture) -> None:
    wheel = broken(tmp_path)
    plain = json.loads(run(capsys, "audit", "--json", wheel).out)
    explained = json.loads(run(capsys, "audit", "--json", "--explain", wheel).out)
    assert {key: value for key, value in explained.items() if key != "explanation"} == plain


# --- explain -----------------------------------------------------------------------------------------------------


def test_policy_by_policy(tmp_path: Path, capsys: Capture) -> None:
    data = schema_of(run(capsys, "audit", "--json", "--explain", broken(tmp_path)).out)
    findings, explanation = data["findings"], data["explanation"]
    by_tag = {each["tag"]: each for each in explanation["policies"]}

    def blamed(policy: str) -> set[str]:
        return {findings[number]["kind"] for number in by_tag[f"{policy}_x86_64"]["in_the_way"]}

    assert blamed("manylinux_2_28") == {"external-library"}
    assert blamed("manylinux_2_27") == blamed("manylinux_2_5") == {"external-library", "symbol-version"}
    assert not any(each["true"] for each in by_tag.values())
    assert by_tag["manylinux_2_17_x86_64"]["names"] == ["manylinux2014_x86_64", "manylinux_2_17_x86_64"]
    better = explanation["one_step_better"]
    assert [findings[number]["library"] for number in better["in_the_way"]] == ["libfoo.so.1"]
    assert better["reaches"] == "manylinux_2_28_x86_64"
    assert better["remedies"][0]["setting"] == 'exclude = ["libfoo.so.1"]'
    assert len(explanation["remedies"]) == len(findings)


def test_the_remedy_is_the_remedy(tmp_path: Path, capsys: Capture) -> None:
    """What is to be typed is typed: the wheel is then what was said that it would be."""
    wheel = broken(tmp_path)
    assert run(capsys, "audit", wheel, "--exclude", "libfoo.so.1").out.splitlines()[0].endswith("manylinux_2_28_x86_64")
    bundled = broken(tmp_path / "bundled", **{"demo/lib/libfoo.so.1": shared(soname="libfoo.so.1")})
    explained = json.loads(run(capsys, "audit", "--json", "--explain", bundled).out)["explanation"]
    typed = explained["one_step_better"]["remedies"][0]["command"]
    assert typed == f"portable-backend repair {bundled}"
    result = run(capsys, *typed.split()[1:], "-w", tmp_path / "out").out.strip()
    assert "manylinux_2_28_x86_64" in result
    assert json.loads(run(capsys, "audit", "--json", result).out)["policy"] == explained["one_step_better"]["reaches"]


@on_x86_64
def test_who_calls(tmp_path: Path, capsys: Capture) -> None:
    needs_cc()
    newer = stub(tmp_path / "newer", "libc.so.6", ("getpid", "GLIBC_2.2.5"), ("arc4random", "GLIBC_2.36"))
    archive = tmp_path / "libpart.a"
    (tmp_path / "part.c").write_text("extern int arc4random(void); int part(void) { return 1 + arc4random(); }")
    subprocess.run(["cc", "-c", "-O1", "-fPIC", "part.c", "-o", "part.o"], check=True, cwd=tmp_path)
    subprocess.run(["ar", "rcs", archive.name, "part.o"], check=True, cwd=tmp_path)
    module = native(
        tmp_path,
        "part() + arc4random()",
        "extern int part(void), arc4random(void);",
        archive,
        newer,
        "-Wl,-Map=ext.map",
    )
    wheel = make_wheel(tmp_path / "dist", {"demo/ext.so": module}, X86_NAME)
    text = run(capsys, "audit", "--explain", wheel, "--map", tmp_path / "ext.map").out
    assert "called by PyInit_ext (/home/maker/demo/ext.c:4, " in text
    assert "called by part (libpart.a(part.o))" in text
    explained = schema_of(run(capsys, "audit", "--explain", "--json", wheel, "--map", tmp_path / "ext.map").out)
    (symbol,) = explained["explanation"]["symbols"]
    assert (symbol["symbol"], symbol["places_total"]) == ("arc4random@GLIBC_2.36", 2)

    subprocess.run(["strip", module.name], check=True, cwd=tmp_path)
    wheel = make_wheel(tmp_path / "stripped", {"demo/ext.so": module}, X86_NAME)
    text = run(capsys, "audit", "--explain", wheel, "--map", f"demo/ext.so={tmp_path / 'ext.map'}").out
    assert "PyInit_ext" in text  # it is exported
    assert re.search(r"called by code at 0x[0-9a-f]+, of which no symbol table tells the name \(.*part\.o\)", text) or (
        "called by part (libpart.a(part.o))" in text
    )


@on_x86_64
@pytest.mark.parametrize("junk", [b"", b"\xff" * 5000, b"\x10\0\0\0\x05\0" * 900, b"\0" * 5000])
def test_debugging_data_that_are_none_cost_the_lines_alone(junk: bytes, tmp_path: Path, capsys: Capture) -> None:
    needs_cc()
    newer = stub(tmp_path / "newer", "libc.so.6", ("getpid", "GLIBC_2.2.5"), ("arc4random", "GLIBC_2.36"))
    module = native(tmp_path, "arc4random()", "extern int arc4random(void);", newer)
    (tmp_path / "junk").write_bytes(junk)
    subprocess.run(["objcopy", "--update-section", ".debug_line=junk", module.name], check=True, cwd=tmp_path)
    wheel = make_wheel(tmp_path / "dist", {"demo/ext.so": module}, X86_NAME)
    assert "called by PyInit_ext (source not known)" in run(capsys, "audit", "--explain", wheel).out
    assert "called by PyInit_ext (source not known)" in Seen(page_of(capsys, wheel, tmp_path)).text


def test_a_map_has_to_fit(tmp_path: Path, capsys: Capture) -> None:
    wheel = broken(tmp_path)
    assert "No such file" in refuse(capsys, 2, "audit", "--explain", wheel, "--map", tmp_path / "nowhere.map")
    (tmp_path / "empty.map").write_text("nothing\n")
    assert "no linker map" in refuse(capsys, 2, "audit", "--explain", wheel, "--map", tmp_path / "empty.map")
    (tmp_path / "a.map").write_text(" .text 0x1000 0x10 a.o\n")
    message = refuse(capsys, 2, "audit", "--explain", wheel, "--map", tmp_path / "a.map")
    assert "MEMBER=FILE" in message
    assert "demo/ext.so" in message
    assert "--explain or --html" in refuse(capsys, 2, "audit", wheel, "--map", tmp_path / "a.map")


def test_exit_codes_are_those_of_audit(tmp_path: Path, capsys: Capture) -> None:
    true = make_wheel(tmp_path / "true", {"demo/ext.so": libc_extension()})
    false = broken(tmp_path / "false", X86_NAME.replace("linux", "manylinux1"))
    damaged = make_wheel(tmp_path / "damaged", {"demo/ext.so": libc_extension()}, drop=["METADATA"])
    for wheels, code in (([true], 0), ([true, false], 1), ([damaged, false], 7)):
        for form in ([], ["--json"], ["-v"]):
            assert run(capsys, "audit", "--explain", *form, *wheels).code == code


# --- colour and width --------------------------------------------------------------------------------------------


def in_terminal(width: int, *arguments: object, **environ: str) -> str:
    """What the command writes to a terminal of that width."""
    import fcntl
    import pty
    import struct
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    kept = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    process = subprocess.Popen(
        command(*arguments), stdout=other, stderr=subprocess.PIPE, env={**kept, "TERM": "xterm-256color", **environ}
    )
    os.close(other)
    pieces = []
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other side is gone
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(main)
    process.wait(60)
    return b"".join(pieces).decode().replace("\r\n", "\n")


LONG = "symbol_" + "with_a_long_name_" * 12


def long_names(directory: Path) -> Path:
    return make_wheel(directory, {"demo/ext.so": libc_extension(versioned=[(LONG, "GLIBC_2.28", "libc.so.6")])})


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals as Linux has them")
def test_a_terminal_gets_colours_and_lines_of_its_width(tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="the extra rich is not installed")
    wheel = broken(tmp_path)
    text = in_terminal(60, "audit", "--explain", wheel)
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "needs libfoo.so.1, which is neither in the wheel nor promised by any policy" not in plain
    assert "needs libfoo.so.1, which is neither in the wheel nor promised by any policy" in " ".join(plain.split())
    assert max(len(line) for line in plain.splitlines() if " " in line.strip() and "$" not in line) <= 60
    assert "\x1b[3" not in in_terminal(60, "audit", "--explain", wheel, NO_COLOR="1")
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", in_terminal(40, "audit", "--explain", long_names(tmp_path / "long")))
    assert f"{LONG}@GLIBC_2.28" in narrow  # a symbol is there to be copied


def test_what_is_piped_is_plain_and_unbroken(tmp_path: Path) -> None:
    wheel = long_names(tmp_path)
    for variables in ({"COLUMNS": "40"}, {"COLUMNS": "40", "NO_COLOR": "1"}, {"COLUMNS": "40", "FORCE_COLOR": ""}):
        for options in ([], ["--explain"]):
            text = run_command("audit", *options, wheel, **variables).stdout
            assert "\x1b" not in text
            assert f"{LONG}@GLIBC_2.28" in text
    pytest.importorskip("rich", reason="the extra rich is not installed")
    text = run_command("audit", "--explain", wheel, COLUMNS="40", FORCE_COLOR="1").stdout
    assert "\x1b[" in text
    assert f"{LONG}@GLIBC_2.28" in text


def test_lines_are_coloured_by_what_they_say(tmp_path: Path, capsys: Capture) -> None:
    from portable_backend.report.terminal import style_of

    false = broken(tmp_path, X86_NAME.replace("linux", "manylinux1"))
    text = run(capsys, "audit", "--explain", false).out + run(capsys, "audit", "--diff", false, broken(tmp_path)).out
    styles = {line.strip(): style_of(line) for line in text.splitlines()}
    assert styles["claims manylinux1_x86_64: NOT TRUE of manylinux1_x86_64"] == "bold red"
    assert {style for line, style in styles.items() if line.startswith("manylinux_") and " no: " in line} == {"red"}
    assert {style for line, style in styles.items() if line.startswith("cure: ")} == {"green"}
    assert {style for line, style in styles.items() if line.startswith("$ ")} == {"bold cyan"}
    assert styles["malloc@GLIBC_2.28 → manylinux_2_28"] == "magenta"
    assert style_of("    manylinux_2_41 … manylinux_2_36  true") == "green"


def test_without_rich_text_is_plain_even_where_colour_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not here')")
    path = f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"
    done = run_command("audit", "--explain", long_names(tmp_path), FORCE_COLOR="1", PYTHONPATH=path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert LONG in done.stdout


def test_who_asks_for_nothing_more_imports_nothing_more(tmp_path: Path) -> None:
    """The modules of a plain audit are counted by what it is for; the rest waits for its option."""
    code = """
import sys
import portable_backend.cli as cli
cli.main(["audit", sys.argv[1]])
cli.main(["audit", "--json", sys.argv[1]])
print([name for name in sys.modules if name.startswith(("rich", "portable_backend"))])
"""
    command_line = [sys.executable, "-c", code, str(broken(tmp_path))]
    done = subprocess.run(command_line, capture_output=True, text=True, env=environment(), check=True)
    loaded = done.stdout.splitlines()[-1]
    for module in ("rich", "explaining", "closer", "callers", "steps", "terminal", "explained", "page", "changes"):
        assert f".{module}'" not in loaded
        assert f"'{module}" not in loaded


# --- the page ----------------------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """What a browser would make of a page: its elements, its attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, Optional[str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(capsys: Capture, wheel: Path, directory: Path, *options: object) -> str:
    target = directory / "report.html"
    outcome = run(capsys, "audit", "--html", target, *options, wheel)
    assert outcome.code in (0, 1), outcome
    assert f"wrote {target}" in outcome.err
    return target.read_text(encoding="utf-8")


def test_the_page_tells_it_all_and_needs_nothing_else(tmp_path: Path, capsys: Capture) -> None:
    page = page_of(capsys, broken(tmp_path), tmp_path)
    seen = Seen(page)
    for told in (
        "malloc@GLIBC_2.28",
        "libfoo.so.1",
        "rpath /opt",
        "manylinux_2_28",
        'exclude = ["libfoo.so.1"]',
        "libold.so",
    ):
        assert told in seen.text
    assert {"svg", "path", "rect", "table", "input"} <= set(seen.elements)
    values = [value or "" for name, value in seen.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    assert all(value.startswith("#") for value in values)
    assert re.findall(r"(?:url\(|@import|https?://(?!www\.w3\.org/2000/svg))", page) == []
    assert [name for name, _ in seen.attributes if name.startswith("on") or name == "style"] == []
    rows = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])["rows"]  # type: ignore[index]
    assert [0, "uses", "malloc@GLIBC_2.28", "libc.so.6", "manylinux_2_28"] in rows


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"demo/ext.so": b"\x7fELF\x02\x01\x01" + bytes(20)}, X86_NAME),
        ({"demo/ext.so": libc_extension()}, X86_NAME.replace("linux", "musllinux_1_2")),
        ({"demo/ext.so": libc_extension(machine=183)}, X86_NAME.replace("x86_64", "aarch64")),
        ({"demo/ext.so": libc_extension(machine=243)}, X86_NAME.replace("x86_64", "riscv64")),
        ({"demo/ext.so": libc_extension(machine=2)}, X86_NAME),
        ({"demo/ext.so": libc_extension()}, X86_NAME.replace("x86_64", "ppc64")),
        ({"demo/a.so": shared(soname="a.so", needed=["b.so"], runpath="$ORIGIN"),
          "demo/b.so": shared(soname="b.so", needed=["a.so", "b.so"], runpath="$ORIGIN")}, X86_NAME),
        ({}, X86_NAME),
    ],
    ids=["malformed", "musl", "aarch64", "riscv64", "sparc", "ppc64", "circle", "empty"],
)  # fmt: skip
def test_any_wheel_can_be_explained(files: dict[str, bytes], name: str, tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, files, name)
    page = page_of(capsys, wheel, tmp_path, "--explain", "-v")
    assert wheel.name in Seen(page).text
    data = schema_of(run(capsys, "audit", "--explain", "--json", wheel).out)
    assert len(data["explanation"]["remedies"]) == len(data["findings"])
    text = run(capsys, "audit", "--explain", "-v", wheel).out
    assert [each["message"] for each in data["findings"] if each["message"] not in text and not each["symbol"]] == []


def test_only_its_own_script_and_style_may_run(tmp_path: Path, capsys: Capture) -> None:
    import base64
    import hashlib

    page = page_of(capsys, broken(tmp_path), tmp_path)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    for element in ("style", "script"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy[1]


def browser() -> str:
    """A real one. It is large, so it is asked for by TESTS_WITH_BROWSER; then it has to be there."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        (pytest.fail if os.environ.get("TESTS_WITH_BROWSER") else pytest.skip)("chromium is not installed")
    return str(found)


def shown_by(page: Path, fragment: str, profile: Path) -> str:
    """The document as a browser has it after the page's script ran."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    done = subprocess.run(
        [browser(), *options, f"{page.as_uri()}{fragment}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_a_real_browser_runs_the_search_and_nothing_else(tmp_path: Path, capsys: Capture) -> None:
    browser()
    target = tmp_path / "report.html"
    run(capsys, "audit", "--html", target, broken(tmp_path))
    found = shown_by(target, "#search=GLIBC_2.28%20malloc", tmp_path / "profile")
    assert '<span id="matches" role="status">1 of ' in found
    assert "<td>malloc@GLIBC_2.28</td>" in found
    assert '<span id="matches" role="status">0 of ' in shown_by(target, "#search=nowhere", tmp_path / "profile")
    page = target.read_text(encoding="utf-8")
    target.write_text(page.replace("</main>", "<script>document.title = 'obeyed'</script></main>"), encoding="utf-8")
    assert "<title>obeyed</title>" not in shown_by(target, "", tmp_path / "profile")
    run(capsys, "audit", "--html", target, hostile(tmp_path / "hostile"))
    found = shown_by(target, "#search=script", tmp_path / "profile")
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;@GLIBC_2.28</td>" in found
    assert Seen(found).elements.count("script") == 2


HOSTILE = "<script>alert(1)</script>"


def hostile(directory: Path) -> Path:
    """Names that would be markup, ends of scripts, orders to a terminal, or no text at all."""
    names = [
        HOSTILE,
        "</script><img src=x onerror=alert(1)>",
        "]]>--><svg onload=alert(1)>",
        "\x1b]0;x\x07",
        "\u202egnp.so",
        "&lt;b",
    ]
    data = libc_extension(
        needed=[f"lib{HOSTILE}.so.1", 'lib"x" onload="y.so', "\udc80.so"],
        versioned=[(name, "GLIBC_2.28", "libc.so.6") for name in names],
        exports=names,
        runpath="/<b>\n",
    )
    members = {f"demo/{number}{HOSTILE.replace('/', '')}.so": data for number in range(3)}
    members |= {"demo/\"'><b>.so": data, "demo/</title>.so": data, "demo/\u202ex.so": data}
    return make_wheel(directory, members, X86_NAME)


def test_names_are_text_and_no_markup(tmp_path: Path, capsys: Capture) -> None:
    harmless, page = (page_of(capsys, each(tmp_path), tmp_path) for each in (broken, hostile))
    seen = Seen(page)
    assert set(seen.elements) <= set(Seen(harmless).elements)
    assert seen.elements.count("script") == 2
    assert HOSTILE not in page
    assert "<script>alert(1)</script>" in seen.text  # told all the same
    assert [name for name, _ in seen.attributes if name.startswith("on")] == []
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_hostile_names_reach_neither_terminal_nor_json_as_orders(tmp_path: Path, capsys: Capture) -> None:
    wheel, other = hostile(tmp_path / "a"), broken(tmp_path / "b")
    for arguments in (["--explain", "-v", wheel], ["--diff", "-v", wheel, other], ["--diff", "-v", other, wheel]):
        outcome = run(capsys, "audit", *arguments)
        assert outcome.code in (0, 1)
        assert all(each.isprintable() or each == "\n" for each in outcome.out)
        schema_of(run(capsys, "audit", "--json", *arguments).out)


def test_names_with_line_ends_are_refused_as_ever(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/a\nb.so": libc_extension()})
    for options in (["--explain"], ["--html", tmp_path / "x.html"], ["--diff", wheel]):
        refuse(capsys, 7, "audit", *options, wheel)
    assert not (tmp_path / "x.html").exists()


def test_ten_thousand_members(tmp_path: Path, capsys: Capture) -> None:
    files = {f"demo/part{number}.so": libc_extension("GLIBC_2.28", "x") for number in range(1500)}
    files |= {f"demo/data{number}.txt": b"x" for number in range(8500)}
    wheel = make_wheel(tmp_path, files)
    page = page_of(capsys, wheel, tmp_path)
    assert len(page) < 5_000_000
    assert "more files and libraries are not drawn" in page
    assert len(run(capsys, "audit", "--explain", wheel).out) < 1_000_000
    changed = make_wheel(tmp_path / "new", {**files, "demo/data7.txt": b"y", "demo/one.txt": b""})
    text = run(capsys, "audit", "--diff", wheel, changed)
    assert text.code == 1
    assert "~ demo/data7.txt (1 → 1 bytes, +0)" in text.out
    assert "+ demo/one.txt (0 bytes)" in text.out


def test_names_without_end_make_no_page_without_end(tmp_path: Path, capsys: Capture) -> None:
    """Names may share their bytes in a file, so a small file can hold many long ones."""
    names = [f"{number}{'x' * 20_000}" for number in range(300)]
    data = libc_extension(versioned=[(name, "GLIBC_2.28", "libc.so.6") for name in names], needed=["y" * 100_000])
    page = page_of(capsys, make_wheel(tmp_path, {"demo/ext.so": data}), tmp_path)
    assert len(page) < 2_000_000
    assert "(100004 letters)" not in page
    assert re.search(r"y{900}…|y{1000}… \(100000 letters\)|needs y{900,}… ", page)


def test_the_page_appears_whole_or_not_at_all(tmp_path: Path, capsys: Capture) -> None:
    wheel = broken(tmp_path / "in")
    target = tmp_path / "out" / "report.html"
    page_of(capsys, wheel, target.parent)
    before = target.read_bytes()
    damaged = make_wheel(tmp_path / "damaged", {"demo/ext.so": libc_extension()}, drop=["METADATA"])
    refuse(capsys, 7, "audit", "--html", target, damaged)
    assert (entries(target.parent), target.read_bytes()) == (["report.html"], before)
    refuse(capsys, 9, "audit", "--html", tmp_path / "out", wheel)
    (tmp_path / "file").write_text("")
    refuse(capsys, 9, "audit", "--html", tmp_path / "file" / "x.html", wheel)
    assert "one wheel" in refuse(capsys, 2, "audit", "--html", target, wheel, wheel)


def test_a_pure_wheel_has_a_page_and_an_explanation(tmp_path: Path, capsys: Capture) -> None:
    wheel = make_wheel(tmp_path, {"demo/x.py": b""}, "demo-1.0-py3-none-any.whl", purelib=True)
    assert "No native code" in page_of(capsys, wheel, tmp_path)
    assert "pure Python" in run(capsys, "audit", "--explain", wheel).out


# --- differences -------------------------------------------------------------------------------------------------


def test_what_changed(tmp_path: Path, capsys: Capture) -> None:
    old = make_wheel(tmp_path / "old", {"demo/ext.so": libc_extension(runpath="$ORIGIN"), "demo/gone.py": b"1"})
    new = make_wheel(
        tmp_path / "new",
        {"demo/ext.so": libc_extension("GLIBC_2.28", needed=["libfoo.so.1"]), "demo/new.py": b"22"},
        X86_NAME.replace("1.0", "1.1").replace("linux", "manylinux2014"),
    )
    outcome = run(capsys, "audit", "--diff", old, new)
    assert outcome.code == 1
    lines = [line.strip() for line in outcome.out.splitlines()]
    for line in (
        f"{old.name} → {new.name}",
        "~ version: 1.0 → 1.1",
        "~ platform tags: linux_x86_64 → manylinux2014_x86_64",
        "~ policy: manylinux_2_5_x86_64 → linux_x86_64",
        "- demo/gone.py (1 bytes)",
        "+ demo/new.py (2 bytes)",
        "+ needed libfoo.so.1",
        "~ runpath: $ORIGIN → none",
        "- libc.so.6: GLIBC_2.2.5 (malloc)",
        "+ libc.so.6: GLIBC_2.28 (malloc)",
    ):
        assert line in lines
    assert any(line.startswith("+ demo/ext.so: needs libfoo.so.1") for line in lines)
    data = schema_of(run(capsys, "audit", "--diff", "--json", old, new).out)
    assert data["different"] is True
    assert data["native"][0]["versions_added"] == [
        {"library": "libc.so.6", "version": "GLIBC_2.28", "symbols": ["malloc"]}
    ]
    assert {each["kind"] for each in data["findings_added"]} >= {"symbol-version", "external-library"}
    back = schema_of(run(capsys, "audit", "--diff", "--json", new, old).out)
    assert back["findings_removed"] == data["findings_added"]
    assert back["native"][0]["versions_removed"] == data["native"][0]["versions_added"]


def test_the_same_wheel_and_one_that_is_packed_otherwise_do_not_differ(tmp_path: Path, capsys: Capture) -> None:
    import zipfile

    wheel = broken(tmp_path)
    assert run(capsys, "audit", "--diff", wheel, wheel) == (outcome := run(capsys, "audit", "--diff", wheel, wheel))
    assert (outcome.code, "nothing differs" in outcome.out) == (0, True)
    stored = tmp_path / "stored" / wheel.name
    stored.parent.mkdir()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as archive:
        for name, content in read_members(wheel).items():
            archive.writestr(name, content)
    assert run(capsys, "audit", "--diff", wheel, stored).code == 0
    assert schema_of(run(capsys, "audit", "--diff", "--json", wheel, stored).out)["different"] is False


def test_grafts_and_metadata_are_compared_with_their_counterparts(tmp_path: Path, capsys: Capture) -> None:
    """Their names have a digest, or the version, in them; two that would be alike without are told apart."""

    def made(version: str, mark: str, need: str, *more: str) -> Path:
        graft = libc_extension(need, "x", soname=f"libz-{mark}.so.1")
        files = {"demo/ext.so": libc_extension(needed=[f"libz-{mark}.so.1"], runpath="$ORIGIN/../demo.libs")}
        files |= {f"demo.libs/libz-{each}.so.1": graft for each in (mark, *more)}
        return make_wheel(tmp_path / mark, files, X86_NAME.replace("1.0", version))

    old, new = made("1.0", "0123abcd", "GLIBC_2.4"), made("1.1", "4567abcd", "GLIBC_2.14")
    data = schema_of(run(capsys, "audit", "--diff", "--json", old, new).out)
    members = {each["member"]: each["old_member"] for each in data["members"]}
    assert members["demo.libs/libz-4567abcd.so.1"] == "demo.libs/libz-0123abcd.so.1"
    assert members["demo-1.1.dist-info/RECORD"] == "demo-1.0.dist-info/RECORD"
    assert "demo-1.1.dist-info/METADATA" not in members  # the same content, in the directory of another version
    native = {each["member"]: each for each in data["native"]}
    graft = native["demo.libs/libz-4567abcd.so.1"]
    assert [each["version"] for each in graft["versions_added"]] == ["GLIBC_2.14"]
    assert [each["version"] for each in graft["versions_removed"]] == ["GLIBC_2.4"]
    text = run(capsys, "audit", "--diff", old, new).out
    assert "~ demo.libs/libz-0123abcd.so.1 → demo.libs/libz-4567abcd.so.1 (" in text
    two = made("1.2", "89ababcd", "GLIBC_2.14", "ffffffff")
    data = schema_of(run(capsys, "audit", "--diff", "--json", new, two).out)
    libraries = {each["member"]: each["old_member"] for each in data["members"] if "libz" in each["member"]}
    assert libraries == {
        "demo.libs/libz-4567abcd.so.1": "demo.libs/libz-4567abcd.so.1",
        "demo.libs/libz-89ababcd.so.1": None,
        "demo.libs/libz-ffffffff.so.1": None,
    }


def test_differences_are_between_two_wheels(tmp_path: Path, capsys: Capture) -> None:
    wheel = broken(tmp_path)
    for wheels in ([wheel], [wheel] * 3):
        assert "--diff OLD NEW" in refuse(capsys, 2, "audit", "--diff", *wheels)
    assert "neither" in refuse(capsys, 2, "audit", "--diff", "--explain", wheel, wheel)
    damaged = make_wheel(tmp_path / "damaged", {"demo/ext.so": libc_extension()}, drop=["METADATA"])
    refuse(capsys, 7, "audit", "--diff", wheel, damaged)
    refuse(capsys, 7, "audit", "--diff", wheel, tmp_path / "nowhere" / RAW_NAME)
