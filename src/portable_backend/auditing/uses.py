"""From slots to code: the places of x86-64 and AArch64 code that use a slot, or a stub that jumps through one. Pure.

No disassembler is needed: a place counts if, read as an instruction of the few kinds that matter, it leads to the very
stub or slot. See :mod:`.callers`; the other machines are in :mod:`.more_uses`.

Sources: the psABIs of x86-64 and AArch64 (procedure linkage tables).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from struct import Struct, unpack
from typing import Optional

from ..records import NamedTuple
from .image import MOST_SLOTS, Image

_DISPLACEMENT = Struct("<i")


class Use(NamedTuple):
    """A place that uses a symbol; see :class:`.callers.Caller`."""

    how: str
    address: int
    symbol: str


def x86_64_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The places of x86-64 code that use one of the slots."""
    stubs: dict[int, str] = {}
    jumps: dict[int, str] = {}
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _RIP_RELATIVE.finditer(body):
            at = match.start()
            if at + 6 > len(body):
                continue
            symbol = slots.get(load.vaddr + at + 6 + _DISPLACEMENT.unpack_from(body, at + 2)[0])
            if symbol is None:
                continue
            opcode, address = bytes(body[at : at + 2]), load.vaddr + at
            if opcode == b"\xff\x25" and len(jumps) < MOST_SLOTS:
                jumps[address] = symbol
                stubs.update((address - skip, symbol) for skip in entries_before(body, at, ENDBR64))
            else:
                yield Use("call" if opcode == b"\xff\x15" else "load", address, symbol)
    used: set[int] = set()
    yield from relative_calls(image, stubs, used)
    yield from jumps_of_their_own(image, jumps, used, 5)


def relative_calls(image: Image, stubs: Mapping[int, str], used: set[int], wrap: int = -1) -> Iterator[Use]:
    """Calls of and jumps to stubs by the instructions that the x86 processors have in common.

    :param used: takes the stubs that are used.
    :param wrap: a mask of the bits that an address has.
    """
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _RELATIVE_CALL.finditer(body):
            at = match.start() + len(match[0]) - 1
            if at + 5 > len(body):
                continue
            target = load.vaddr + at + 5 + _DISPLACEMENT.unpack_from(body, at + 1)[0] & wrap
            if target in stubs:
                used.add(target)
                yield Use("call" if match[0] == b"\xe8" else "jump", load.vaddr + match.start(), stubs[target])


def jumps_of_their_own(image: Image, jumps: Mapping[int, str], used: Collection[int], before: int) -> Iterator[Use]:
    """Jumps through a slot that are no stubs: outside of the linkage table, and nothing calls them.

    :param before: so many bytes before the jump calls may enter a stub.
    """
    tables = [(each.address, each.address + each.size) for each in image.sections if each.name.startswith(".plt")]
    for address, symbol in jumps.items():
        is_called = any(address - skip in used for skip in range(before + 1))
        if not is_called and not any(start <= address < end for start, end in tables):
            yield Use("jump", address, symbol)


def aarch64_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The places of AArch64 code that use one of the slots."""
    stubs: dict[int, str] = {}
    jumps: dict[int, str] = {}
    for body, at, address, slot, is_stub in _aarch64_loads(image, slots):
        if not is_stub:
            yield Use("load", address, slots[slot])
        elif len(jumps) < MOST_SLOTS:
            jumps[address] = stubs[address] = slots[slot]
            if bytes(body[max(at - 4, 0) : at]) == _BTI_C:
                stubs[address - 4] = slots[slot]
    used: set[int] = set()
    for load in image.code():
        for at, word in words_of(image.bytes_at(load.offset, load.size & ~3)):
            # b and bl: 26 bits, signed, in words
            if word & 0x7C000000 == 0x14000000:
                distance = ((word & 0x3FFFFFF) ^ 0x2000000) - 0x2000000
                target = load.vaddr + at + 4 * distance
                if target in stubs:
                    used.add(target)
                    yield Use("call" if word >> 31 else "jump", load.vaddr + at, stubs[target])
    yield from jumps_of_their_own(image, jumps, used, 4)


def _aarch64_loads(image: Image, slots: Mapping[int, str]) -> Iterator[tuple[memoryview, int, int, int, bool]]:
    """Where a slot's page is taken and the slot then loaded: the code, the place in it, its address, the slot, and
    whether a stub does so.
    """
    pages = {slot & ~0xFFF for slot in slots}
    for load in image.code():
        body = image.bytes_at(load.offset, load.size & ~3)
        for at, word in words_of(body):
            # adrp xD, page
            if word & 0x9F000000 != 0x90000000:
                continue
            page = (load.vaddr + at & ~0xFFF) + _adrp_offset(word)
            if page in pages:
                slot, is_stub = _loaded_slot(body, at, page, word & 31, slots)
                if slot is not None:
                    yield body, at, load.vaddr + at, slot, is_stub


# mov, cmp, add, or, test; call and jmp: through an address relative to the next instruction
_RIP_RELATIVE = re.compile(rb"[\x8b\x3b\x39\x03\x0b\x85\xff](?=[\x05\x0d\x15\x1d\x25\x2d\x35\x3d])", re.DOTALL)
# call, jmp, and the conditional jumps
_RELATIVE_CALL = re.compile(rb"\xe8|\xe9|\x0f[\x80-\x8f]", re.DOTALL)
ENDBR64, _BND = b"\xf3\x0f\x1e\xfa", b"\xf2"
_BTI_C = b"\x5f\x24\x03\xd5"


def entries_before(body: memoryview, at: int, endbr: bytes) -> Iterator[int]:
    """How many bytes before the jump of a stub calls may enter it: with ``bnd`` and ``endbr`` in front of it."""
    yield 0
    back = 0
    if bytes(body[max(at - 1, 0) : at]) == _BND:
        back = 1
        yield back
    if bytes(body[max(at - back - 4, 0) : at - back]) == endbr:
        yield back + 4


def words_of(body: memoryview) -> Iterator[tuple[int, int]]:
    """Offset and value of each instruction."""
    for start in range(0, len(body) // 4 * 4, 1 << 20):
        piece = body[start : min(start + (1 << 20), len(body) // 4 * 4)]
        yield from zip(range(start, start + len(piece), 4), unpack(f"<{len(piece) // 4}I", piece))


def _adrp_offset(word: int) -> int:
    pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return ((pages ^ 0x100000) - 0x100000) << 12


def _loaded_slot(
    body: memoryview, at: int, page: int, register: int, slots: Mapping[int, str]
) -> tuple[Optional[int], bool]:
    """The slot that is loaded soon after its page was, and whether what is loaded is jumped to, as in a stub."""
    following = body[at + 4 : at + 36]
    words = unpack(f"<{len(following) // 4}I", following)
    for place, word in enumerate(words):
        # ldr xT, [xN, #8 * n]
        if word & 0xFFC00000 == 0xF9400000 and word >> 5 & 31 == register:
            slot = page + 8 * (word >> 10 & 0xFFF)
            if slot in slots:
                jump = 0xD61F0000 | (word & 31) << 5  # br xT
                return slot, register in (16, 17) and jump in words[place + 1 : place + 3]
        # Behind a jump or a call (b, bl; br, blr, ret), or once it may have been written to, it holds the page no more.
        if word & 0x7C000000 == 0x14000000 or word & 0xFE000000 == 0xD6000000 or word & 31 == register:
            break
    return None, False


__all__ = [
    "ENDBR64",
    "Use",
    "aarch64_uses",
    "entries_before",
    "jumps_of_their_own",
    "relative_calls",
    "words_of",
    "x86_64_uses",
]
