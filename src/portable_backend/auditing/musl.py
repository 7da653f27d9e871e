"""Whether the musl that a tag promises has the symbols that a file needs. Pure.

musl's symbols bear no versions: nothing in a file says how old a musl it can do with, so a file that was linked with a
new one and uses what only that has is found out by the name alone. A platform tag promises ``musl >= <major>.<minor>``
(PEP 656), and musl has added functions in patch releases, too. The two cases:

- a symbol that came with a later *minor* version than the tag's: the tag is not true, another one is;
- a symbol that came with a later *patch* release of the tag's own minor version: no tag could say so, and installers
  compare no patch releases, so the file loads on some machines that accept it and fails on others. That is a warning,
  which names the release.

Packed relative relocations, which the loader knows since a patch release, are judged like such a symbol; there the file
does not fail to load, it crashes.

A symbol that no known musl has is found by :mod:`portable_backend.auditing.rules`.
"""

from __future__ import annotations

from ..elf import names_among
from ..policy.policy import find_alpine, recent_musl_symbols
from ..targets import Libc
from .facts import arch_of
from .finding import Finding
from .rules import Scene, is_static

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_RELR_SINCE = (1, 2, 4)
_CURE = "build in an image of that age, or do not use it; a weak reference that is looked at before the call is fine"


def judge_musl(scene: Scene, member: str) -> Iterator[Finding]:
    """What a file needs that not every musl of the most portable policy in question has."""
    facts = scene.elves[member]
    if scene.libc is not Libc.MUSL or arch_of(facts) is not scene.arch or not scene.policies:
        return
    recent = recent_musl_symbols(scene.arch)
    # Whatever version they bear: musl's loader does not look at it.
    names = {symbol.name for symbol in facts.imports if not symbol.weak and symbol.name in recent}
    for other in scene.graph.scopes[member] if names else ():
        names -= names_among(scene.elves[other].exports, names)
    for name in sorted(names):
        what = f"refers to {name}, which musl has since"
        raw = Finding("musl-symbol", scene.musl_soname, name, None, what, _CURE)
        yield from _judge_release(scene, raw, recent[name], "cannot load it")
    if facts.relr and not is_static(facts):
        what = "has packed relative relocations (DT_RELR), which musl's loader applies since"
        raw = Finding("relr", None, None, None, what, "link without -z pack-relative-relocs")
        yield from _judge_release(scene, raw, _RELR_SINCE, "leaves its pointers wrong, and it crashes")


def _judge_release(scene: Scene, raw: Finding, since: tuple[int, ...], otherwise: str) -> Iterator[Finding]:
    """A finding of what musl has since a release, if the promised version does not imply that release."""
    promised = scene.policies[0].tag.version
    release, alpine = ".".join(map(str, since)), find_alpine(since)
    message = f"{raw.message} {release} (Alpine {alpine})" if alpine else f"{raw.message} {release}"
    if since[:2] > promised:
        yield raw._replace(message=message, ceiling=scene.at_least(since))
    elif since[:2] == promised and since[2]:
        message += f"; an older musl {promised[0]}.{promised[1]} {otherwise}, and no tag tells them apart"
        yield raw._replace(message=message, warning=True)


__all__ = ["judge_musl"]
