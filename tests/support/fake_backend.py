"""An inner backend for tests: it does what ``fake.json`` in the project's root says, and writes down what it is asked.

Copied into sample projects as an in-tree backend; needs nothing but the standard library. Keys of ``fake.json``:

``hooks``      optional hooks that it has (default: none)
``name``       the distribution (default ``fake``)
``version``    its version (default ``1.0``)
``tag``        of the wheel (default ``py3-none-any``); ``{cp}`` stands for the interpreter, as ``cp312``
``file_name``  the wheel's file name, where it shall not fit its contents
``returns``    what ``build_wheel`` returns instead of the file name
``leave``      false: write no wheel at all
``compile``    C files to compile and link into ``<stem>.so`` members, with ``CC`` as given
``junk``       text to print on standard output first
``sleep``      seconds to sleep in a grandchild before building
``fail``       lines to print before failing
``fail_on``    versions of Python, as ``3.12``, that it fails on
``sleep_on``   the same, to sleep on; on others it does not
``pkg_info``   what ``PKG-INFO`` of an sdist says
``log``        file that a JSON line per hook call is added to; ``-`` prints it after ``LOG`` instead
"""

import base64
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile

with open("fake.json", encoding="utf-8") as _file:
    _SAID = json.load(_file)

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
_TAG = _SAID.get("tag", "py3-none-any").replace("{cp}", f"cp{_PYTHON.replace('.', '')}")
_NAME, _VERSION = _SAID.get("name", "fake"), _SAID.get("version", "1.0")
_DIST_INFO = f"{_NAME}-{_VERSION}.dist-info"
_METADATA = f"Metadata-Version: 2.1\nName: {_NAME}\nVersion: {_VERSION}\nSummary: git {os.path.exists('.git')}\n"


def _called(hook, **details):
    sys.stdout.buffer.write(_SAID.get("junk", "").encode() + b"\n")
    sys.stdout.flush()
    if "log" in _SAID:
        seen = {name: value for name, value in os.environ.items() if name.startswith("FAKE_")}
        details.update(hook=hook, python=_PYTHON, stdin=sys.stdin.read(), cwd=os.getcwd(), path=sys.path, seen=seen)
        if _SAID["log"] == "-":
            print("LOG", json.dumps(details), flush=True)
            return
        with open(_SAID["log"], "a", encoding="utf-8") as file:
            file.write(json.dumps(details) + "\n")


def _compiled(source):
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out.so")
        command = [*shlex.split(os.environ.get("CC", "gcc")), "-shared", "-fPIC", "-O1", source, "-o", out]
        subprocess.run(command, check=True)
        with open(out, "rb") as file:
            return file.read()


def _write_wheel(path, native):
    members = {f"{_NAME}.py": b"ANSWER = 42\n", **native}
    members[f"{_DIST_INFO}/METADATA"] = _METADATA.encode()
    pure = "false" if native else "true"
    members[f"{_DIST_INFO}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: {pure}\nTag: {_TAG}\n".encode()
    record = ""
    for name, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    members[f"{_DIST_INFO}/RECORD"] = f"{record}{_DIST_INFO}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _called("build_wheel", config_settings=config_settings, metadata_directory=metadata_directory)
    if "fail" in _SAID or _PYTHON in _SAID.get("fail_on", ()):
        print(_SAID.get("fail", f"no {_PYTHON} please"), flush=True)
        sys.exit(1)
    if "sleep" in _SAID and _PYTHON in _SAID.get("sleep_on", [_PYTHON]):
        subprocess.run([sys.executable, "-c", f"import time; time.sleep({_SAID['sleep']})"], check=True)
    file_name = _SAID.get("file_name", f"{_NAME}-{_VERSION}-{_TAG}.whl")
    if _SAID.get("leave", True):
        native = {f"{source.rpartition('.')[0]}.so": _compiled(source) for source in _SAID.get("compile", ())}
        _write_wheel(os.path.join(wheel_directory, os.path.basename(file_name)), native)
    return _SAID.get("returns", file_name)


def build_sdist(sdist_directory, config_settings=None):
    import tarfile

    _called("build_sdist", config_settings=config_settings)
    name = f"{_NAME}-{_VERSION}"
    with tarfile.open(os.path.join(sdist_directory, f"{name}.tar.gz"), "w:gz") as archive:
        archive.add(".", name)
        if "pkg_info" in _SAID:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
                file.write(_SAID["pkg_info"])
                file.flush()
                archive.add(file.name, f"{name}/PKG-INFO")
    return f"{name}.tar.gz"


def _prepare_metadata(metadata_directory, hook):
    directory = os.path.join(metadata_directory, _DIST_INFO)
    os.mkdir(directory)
    with open(os.path.join(directory, "METADATA"), "w", encoding="utf-8") as file:
        file.write(_METADATA)
    return _DIST_INFO


def _prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _called("prepare_metadata_for_build_wheel", config_settings=config_settings)
    return _prepare_metadata(metadata_directory, "wheel")


def _prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    _called("prepare_metadata_for_build_editable", config_settings=config_settings)
    return _prepare_metadata(metadata_directory, "editable")


def _build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _called("build_editable", config_settings=config_settings, metadata_directory=metadata_directory)
    name = f"{_NAME}-{_VERSION}-0.editable-py3-none-any.whl"
    _write_wheel(os.path.join(wheel_directory, name), {})
    return name


def _get_requires_for_build_wheel(config_settings=None):
    _called("get_requires_for_build_wheel", config_settings=config_settings)
    return _SAID.get("requires", [])


def _get_requires_for_build_sdist(config_settings=None):
    _called("get_requires_for_build_sdist", config_settings=config_settings)
    return _SAID.get("requires", [])


def _get_requires_for_build_editable(config_settings=None):
    _called("get_requires_for_build_editable", config_settings=config_settings)
    return _SAID.get("requires", [])


for _hook in _SAID.get("hooks", ()):
    globals()[_hook] = globals()[f"_{_hook}"]
