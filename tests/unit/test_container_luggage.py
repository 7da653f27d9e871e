"""What travels beside the sources: our own code, and the way to package indexes. Nothing else of the environment."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from portable_backend.errors import StrategyBlocked
from portable_backend.strategies.container.luggage import Carried, pack, read_carried

_INSIDE = "/inside"


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without pip's files; those of this machine are not the tests' business."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr("portable_backend.strategies.container.luggage._SYSTEM_PIP", ())


def _pip(carried: Carried) -> dict[str, str]:
    lines = carried.files["pip.conf"].decode().splitlines()[1:]
    return dict(line.split(" = ", 1) for line in lines)


def test_our_own_code_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack({"carried/extra": b"text"}))) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path)
    assert not [name for name in names if name.endswith((".so", ".pyc"))]
    assert (tmp_path / "carried" / "extra").read_bytes() == b"text"
    code = "import portable_backend.worker, portable_backend.cli, build.env, packaging.requirements; print('ok')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'own')!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr


def test_an_older_python_inside_gets_what_it_lacks_or_is_refused() -> None:
    """The interpreter of the image need not be the one that runs us."""
    with tarfile.open(fileobj=io.BytesIO(pack({}, (3, 10)))) as archive:
        names = archive.getnames()
    assert any(name in ("own/tomli.py", "own/tomli/__init__.py") for name in names)
    with tarfile.open(fileobj=io.BytesIO(pack({}, (3, 12)))) as archive:
        assert not any(name.startswith("own/tomli") for name in archive.getnames())
    with pytest.raises(StrategyBlocked, match=r"Python 3\.6 of the image cannot run"):
        pack({}, (3, 6))


def test_nothing_of_the_environment_enters_unasked() -> None:
    environ = {"PATH": "/bin", "SECRET_TOKEN": "1", "CFLAGS": "-O3", "PYTHONPATH": "/x", "LANG": "de"}
    carried = read_carried(_INSIDE, environ)
    assert carried.environ == {"PIP_CONFIG_FILE": "/inside/pip.conf"}
    assert list(carried.files) == ["pip.conf"]


def test_proxies_the_epoch_and_uv_s_indexes_enter() -> None:
    environ = {
        "https_proxy": "http://proxy:3128",
        "NO_PROXY": "localhost",
        "SOURCE_DATE_EPOCH": "1700000000",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
    }
    assert environ.items() <= read_carried(_INSIDE, environ).environ.items()


@pytest.mark.parametrize("proxy", ["http://localhost:3128", "http://u:p@127.0.0.1:8080/", "localhost:3128"])
def test_a_proxy_on_the_loopback_is_mentioned(proxy: str) -> None:
    assert [note for note in read_carried(_INSIDE, {"HTTPS_PROXY": proxy}).notes if "HTTPS_PROXY" in note]
    assert not read_carried(_INSIDE, {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "localhost"}).notes


def test_a_certificate_bundle_travels_and_everyone_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN")
    carried = read_carried(_INSIDE, {"REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem")})
    assert carried.files["certificates.pem"] == b"-----BEGIN"
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO"):
        assert carried.environ[name] == "/inside/certificates.pem"
    assert "certificates.pem" not in read_carried(_INSIDE, {"PIP_CERT": str(tmp_path / "missing.pem")}).files


def test_pip_s_files_and_variables_are_merged_as_pip_does(tmp_path: Path) -> None:
    files = tmp_path / "home" / ".config" / "pip"
    files.mkdir(parents=True)
    (files / "pip.conf").write_text(
        "[global]\nindex-url = https://global.example/simple\ntimeout = 7\nuser = true\n"
        "[install]\nextra-index-url =\n  https://a.example/simple\n  https://b.example/simple\n"
    )
    carried = read_carried(_INSIDE, {"PIP_INDEX_URL": "https://u:p@env.example/simple", "PIP_NO_BINARY": "numpy"})
    options = _pip(carried)
    assert options["index-url"] == "https://u:p@env.example/simple"
    assert options["extra-index-url"] == "https://a.example/simple https://b.example/simple"
    assert (options["timeout"], options["no-binary"]) == ("7", "numpy")
    assert "user" not in options
    assert carried.environ["UV_DEFAULT_INDEX"] == "https://u:p@env.example/simple"
    assert carried.environ["UV_INDEX"] == "https://a.example/simple https://b.example/simple"


def test_local_links_travel_with_their_archives(tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    (links / "notes.txt").write_text("no archive")
    carried = read_carried(_INSIDE, {"PIP_FIND_LINKS": f"{links} https://example.org/links {tmp_path / 'missing'}"})
    assert carried.files["links/0/a-1.0-py3-none-any.whl"] == b"wheel"
    assert "links/0/notes.txt" not in carried.files
    assert _pip(carried)["find-links"] == "/inside/links/0 https://example.org/links"
    assert carried.environ["UV_FIND_LINKS"] == "/inside/links/0,https://example.org/links"


def test_files_that_pip_is_told_of_travel_or_are_mentioned(tmp_path: Path) -> None:
    (tmp_path / "limits.txt").write_text("setuptools<80\n")
    carried = read_carried(_INSIDE, {"PIP_CONSTRAINT": str(tmp_path / "limits.txt"), "PIP_CLIENT_CERT": "/not/there"})
    assert _pip(carried)["constraint"] == "/inside/constraint.txt"
    assert carried.files["constraint.txt"] == b"setuptools<80\n"
    assert [note for note in carried.notes if "/not/there" in note]
