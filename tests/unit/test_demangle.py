"""Names of Rust's functions: those that c++filt tells, and hostile ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portable_backend.auditing.demangle import demangle

SOURCE = """
use std::collections::*; use std::fmt::Debug;
pub struct Pair<T, const N: usize>(pub [T; N]);
impl<T: Copy + Debug, const N: usize> Pair<T, N> {
    #[inline(never)] pub fn first(&self) -> T { println!("{:?}", self.0); self.0[0] }
}
pub trait Go { fn go(&self) -> String; }
impl Go for (u8, &str) { #[inline(never)] fn go(&self) -> String { format!("{}{}", self.0, self.1) } }
#[inline(never)] pub fn gödel<T: Debug>(x: T) -> String { (|| format!("{:?}", x))() }
#[inline(never)] fn each<K: Debug + std::hash::Hash + Eq, V: Debug>(m: &HashMap<K, Option<V>>) {
    for (k, v) in m { println!("{:?} {:?}", k, v); }
}
#[no_mangle] pub extern "C" fn run(x: i32) -> i32 {
    let mut m = HashMap::new(); m.insert((x, 'c'), Some(vec![1u64])); each(&m);
    println!("{}{}", gödel([true, false]), (x as u8, "s").go()); Pair([x; 3]).first()
}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the files that rustc makes for Linux")
@pytest.mark.skipif(not (shutil.which("rustc") and shutil.which("c++filt")), reason="rustc or binutils not installed")
def test_names_are_those_that_cxxfilt_tells(tmp_path: Path) -> None:
    (tmp_path / "acme.rs").write_text(SOURCE, encoding="utf-8")
    command = ["rustc", "-C", "symbol-mangling-version=v0", "-g", "--crate-type", "cdylib", "acme.rs", "-o", "acme.so"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    listed = subprocess.run(["nm", "acme.so"], check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    names = sorted(set(re.findall(r"\s(_R\w+|_ZN\w+17h\w+E)$", listed, re.MULTILINE)))
    done = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True)
    # c++filt tells the hashes of crates, and the types of numbers, too.
    extra = r"\[[0-9a-f]{1,16}\]|(?<=[0-9]): [ui](?:size|8|16|32|64|128)\b|(?<=true|alse): bool\b"
    expected = re.sub(extra, "", done.stdout).splitlines()
    told = [(name, demangle(name), right) for name, right in zip(names, expected) if demangle(name) != name]
    assert len(told) > 0.95 * len(names) > 100
    assert [each for each in told if each[1] != each[2]] == []
    assert any(name == "acme::gödel::<[bool; 2]>" for _, name, _ in told)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("_RNvNtCs1234_4acme4mods3run", "acme::mods::run"),
        ("_RNCNvC4acme3run0", "acme::run::{closure#0}"),
        ("_RNvC4acmeu8gdel_5qa", "acme::gödel"),
        ("_ZN4acme4mods3run17h0123456789abcdefE", "acme::mods::run"),
        ("_ZN55_$LT$std..path..Component$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", None),
        (
            "_ZN57_$LT$std..path..Component$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE",
            "<std::path::Component as core::fmt::Debug>::fmt",
        ),
        ("_ZN3foo3barEv", None),
        ("PyInit_ext", None),
        ("", None),
        ("_R", None),
        ("_RB_", None),
        ("_RNvB_1x", None),
        ("_RNvC4acme99xyz", None),
        ("_RNvC4acme" + "9" * 5000, None),
    ],
)
def test_names(name: str, told: object) -> None:
    assert demangle(name) == (told or name)


def test_names_that_blow_up_when_they_are_written_out_stay_as_they_are() -> None:
    """Each part is twice the one before it: T A A E, where A is said before."""
    name, places = "_RINvC1a1bTuuE", [8]
    for _ in range(60):
        place = len(name) - 2
        back = "B" + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[min(places[-1] - 1, 61)] + "_"
        name += f"T{back}{back}E"
        places.append(place)
    begin = time.process_time()
    for hostile in (
        name + "E",
        "_RIC1a" + "S" * 3000 + "uE",
        "_R" + "NvB0_1x" * 500,
        "_RNv" * 1000,
        "_RIC1aT" + "B3_" * 1300,
    ):
        assert demangle(hostile) == hostile or len(demangle(hostile)) <= 4096
    assert time.process_time() - begin < 5


@given(st.text("_RNZCIMXYBETSsu0123456789abeEKLpn", max_size=60))
def test_no_text_is_an_error(text: str) -> None:
    demangle(text)
    demangle("_R" + text)
    demangle("_ZN" + text)
