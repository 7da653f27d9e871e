"""From slots to code on i386, 32-bit Arm, ppc64le, s390x and riscv64; see :mod:`.uses`. Pure.

What is looked for is the stubs that GNU ld and lld make, and the calls of them::

    i386     jmp *disp(%ebx)                        the table's address is in ebx
    arm      add ip, pc, #a; add ip, ip, #b; ldr pc, [ip, #c]!
    ppc64le  addis r12, r2, a; ld r12, b(r12); mtctr r12; bctr      the table's address is in r2
    s390x    larl %r1, slot; lg %r1, 0(%r1); br %r1
    riscv64  auipc t3, a; ld t3, b(t3); jalr t1, t3

Loads of an address out of a slot are told where the instructions themselves say which slot it is: not on Arm, where
compilers put the distance into a pool beside the code.

Sources: the psABIs (procedure linkage tables); the manuals of the instruction sets for their encodings.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from struct import Struct, unpack, unpack_from
from typing import Optional

from .image import DT_PLTGOT, MOST_SLOTS, Image
from .uses import Use, entries_before, jumps_of_their_own, relative_calls, words_of

_32_BITS = 0xFFFFFFFF
_SIGNED, _SIGNED_BIG = Struct("<i"), Struct(">i")
_WORD, _HALF = Struct("<I"), Struct("<H")
_STT_FUNC = 2

# --- i386 --------------------------------------------------------------------------------------------------------

_ENDBR32 = b"\xf3\x0f\x1e\xfb"
# jmp *disp(%ebx), jmp *address
_I386_JUMP = re.compile(rb"\xff[\xa3\x25]", re.DOTALL)
# add $distance, %register; that of eax has a form of its own
_I386_ADD = re.compile(rb"\x81[\xc0-\xc3\xc5-\xc7]|\x05", re.DOTALL)
# mov, cmp, call, jmp: through a distance of 32 bits from a register other than esp
_I386_BASED = re.compile(rb"[\x8b\x3b\xff](?=[\x80-\xbf])")
# How far a register that a call keeps is trusted to hold the table's address, and how far another is.
_FAR, _NEAR = 4096, 32
_KEPT = (3, 5, 6, 7)


def i386_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The places of i386 code that use one of the slots."""
    table = image.dynamic.get(DT_PLTGOT)
    stubs: dict[int, str] = {}
    jumps: dict[int, str] = {}
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _I386_JUMP.finditer(body):
            at = match.start()
            if at + 6 > len(body):
                continue
            based = body[at + 1] == 0xA3
            slot = _SIGNED.unpack_from(body, at + 2)[0] + ((table or 0) if based else 0) & _32_BITS
            if slot in slots and (table is not None or not based) and len(jumps) < MOST_SLOTS:
                address = load.vaddr + at
                jumps[address] = slots[slot]
                stubs.update((address - skip, slots[slot]) for skip in entries_before(body, at, _ENDBR32))
    used: set[int] = set()
    yield from relative_calls(image, stubs, used, _32_BITS)
    yield from jumps_of_their_own(image, jumps, used, 4)
    if table is not None:
        yield from _i386_loads(image, slots, table, jumps)


def _i386_loads(image: Image, slots: Mapping[int, str], table: int, jumps: Collection[int]) -> Iterator[Use]:
    """Calls through a slot and loads of it, by a register that was seen to get the table's address.

    What gets it adds the distance to the address of an instruction nearby, so it can be checked: the sum is the table's
    address for the very place where it stands.
    """
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _I386_ADD.finditer(body):
            at, size = match.start(), len(match[0])
            if at + size + 4 > len(body):
                continue
            register = match[0][-1] & 7 if size == 2 else 0
            start = table - _SIGNED.unpack_from(body, at + size)[0] - load.vaddr & _32_BITS
            # The return address of the call before it; clang's way pops it first, by an instruction of one byte.
            if at - start & _32_BITS not in (0, 1):
                continue
            begin = at + size + 4
            for place, slot, is_call in _i386_based(body, begin, register, table):
                address = load.vaddr + place
                if slot in slots and address not in jumps:
                    yield Use("call" if is_call else "load", address, slots[slot])


def _i386_based(body: memoryview, begin: int, register: int, table: int) -> Iterator[tuple[int, int, bool]]:
    """Uses of a distance from a register up to where it may hold something else: place, slot, whether it is called."""
    end = min(begin + (_FAR if register in _KEPT else _NEAR), len(body) - 6)
    pop = bytes(body[begin:end]).find(bytes((0x58 + register,)))
    for match in _I386_BASED.finditer(body, begin, end if pop < 0 else begin + pop):
        at = match.start()
        mode = body[at + 1]
        if mode & 7 != register or (body[at] == 0xFF and mode >> 3 & 7 not in (2, 4)):
            continue
        slot = table + _SIGNED.unpack_from(body, at + 2)[0] & _32_BITS
        yield at, slot, body[at] == 0xFF and mode >> 3 & 7 == 2


# --- arm ---------------------------------------------------------------------------------------------------------

# add ip, pc, #rotated, without its lowest byte; b and bl whatever the condition flags are, by their highest
_ARM_STUB = re.compile(rb"[\xc0-\xcf]\x8f\xe2")
_ARM_BRANCH = re.compile(rb"[\xea\xeb]")
_BX_PC = b"\x78\x47"
# bl, blx, b, conditional b of Thumb: two halfwords
_THUMB_BRANCH = re.compile(rb"[\0-\xff](?=[\xf0-\xf7][\0-\xff][\x80-\xff])", re.DOTALL)


def arm_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The calls in 32-bit Arm code, of both instruction sets, that lead to one of the slots."""
    stubs: dict[int, str] = {}
    thumb_stubs: dict[int, str] = {}
    for load in image.code():
        body = image.bytes_at(load.offset, load.size & ~3)
        for at, slot in _arm_stubs(body, load.vaddr):
            if slot in slots and len(stubs) < MOST_SLOTS:
                stubs[load.vaddr + at] = slots[slot]
                if bytes(body[max(at - 4, 0) : max(at - 2, 0)]) == _BX_PC:
                    thumb_stubs[load.vaddr + at - 4] = slots[slot]
    if not stubs:
        return
    is_thumb = _ThumbOrNot(image)
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for how, at, target, thumb in (*_arm_branches(body, load.vaddr), *_thumb_branches(body, load.vaddr)):
            symbol = (thumb_stubs if thumb and how != "blx" else stubs).get(target & _32_BITS)
            if symbol is not None and is_thumb.at(load.vaddr + at) in (thumb, None):
                yield Use("jump" if how == "jump" else "call", load.vaddr + at, symbol)


def _arm_stubs(body: memoryview, base: int) -> Iterator[tuple[int, int]]:
    """Sequences that jump through a slot: where they start, and the slot."""
    for match in _ARM_STUB.finditer(body):
        at = match.start() - 1
        if at < 0 or at & 3:
            continue
        piece = body[at : at + 16]
        word, *words = unpack(f"<{len(piece) // 4}I", piece[: len(piece) // 4 * 4])
        value = base + at + 8 + _rotated(word)
        for following in words:
            if following & 0xFFFFF000 == 0xE28CC000:  # add ip, ip, #rotated
                value += _rotated(following)
                continue
            if following & 0xFFFFF000 == 0xE5BCF000:  # ldr pc, [ip, #distance]!
                yield at, value + (following & 0xFFF) & _32_BITS
            break


def _rotated(word: int) -> int:
    value, by = word & 0xFF, (word >> 8 & 15) * 2
    return (value >> by | value << 32 - by) & _32_BITS


def _arm_branches(body: memoryview, base: int) -> Iterator[tuple[str, int, int, bool]]:
    """Branches read as Arm: what they do, where they are, where they lead, and that they are no Thumb."""
    for match in _ARM_BRANCH.finditer(body):
        at = match.start() - 3
        if at >= 0 and not at & 3:
            word = _WORD.unpack_from(body, at)[0]
            target = base + at + 8 + 4 * (((word & 0xFFFFFF) ^ 0x800000) - 0x800000)
            yield "call" if word >> 24 & 1 else "jump", at, target, False


def _thumb_branches(body: memoryview, base: int) -> Iterator[tuple[str, int, int, bool]]:
    """Branches read as Thumb. ``blx`` leads to Arm code, and so to the stub itself."""
    for match in _THUMB_BRANCH.finditer(body):
        at = match.start()
        if at & 1 or at + 4 > len(body):
            continue
        first, second = _HALF.unpack_from(body, at)[0], _HALF.unpack_from(body, at + 2)[0]
        sign = first >> 10 & 1
        i1, i2 = 1 ^ (second >> 13 & 1) ^ sign, 1 ^ (second >> 11 & 1) ^ sign
        distance = (i1 << 23 | i2 << 22 | (first & 0x3FF) << 12 | (second & 0x7FF) << 1) - (sign << 24)
        kind = second & 0xD000
        if kind == 0xC000 and not second & 1:
            yield "blx", at, (base + at + 4 & ~3) + distance, True
        elif kind in (0xD000, 0x9000):
            yield "call" if kind == 0xD000 else "jump", at, base + at + 4 + distance, True


class _ThumbOrNot:
    """Which instruction set an address is in, by the functions of the symbol tables: bit 0 of their values tells."""

    def __init__(self, image: Image) -> None:
        found: dict[int, bool] = {}
        for section in image.sections:
            if section.type in (2, 11):
                for symbol in image.symbols(image.bytes_at(section.offset, section.size), 1_000_000):
                    if symbol.info & 15 == _STT_FUNC and symbol.section:
                        found[symbol.value & ~1] = bool(symbol.value & 1)
        self.starts: Sequence[int] = sorted(found)
        self.kinds = [found[start] for start in self.starts]
        self.complete = any(section.type == 2 for section in image.sections)

    def at(self, address: int) -> Optional[bool]:
        """Whether Thumb code is there; ``None`` where nothing tells."""
        if not self.complete:  # of a stripped file the exported functions tell, if they agree
            return self.kinds[0] if len(set(self.kinds)) == 1 else None
        place = bisect_right(self.starts, address) - 1
        return self.kinds[place] if place >= 0 else None


# --- ppc64le -----------------------------------------------------------------------------------------------------

# mtctr r12; bctr. std r2, 24(r1)
_TO_R12, _SAVE_R2 = b"\xa6\x03\x89\x7d\x20\x04\x80\x4e", b"\x18\x00\x41\xf8"
# addis rX, r2, high and ld rX, low(r2), by their two highest bytes
_OF_R2 = re.compile(rb"[\x02\x22\x42\x62\x82\xa2\xc2\xe2](?=[\x3c-\x3f\xe8-\xeb])")


def ppc64_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The places of ppc64le code that use one of the slots."""
    table = _table_of_contents(image)
    if table is None:
        return
    stubs: dict[int, str] = {}
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for at, slot, after in _ppc64_loads(body, table):
            if slot not in slots:
                continue
            address = load.vaddr + at
            if bytes(body[after : after + 8]) == _TO_R12 and len(stubs) < MOST_SLOTS:
                stubs[address] = slots[slot]
                if bytes(body[max(at - 4, 0) : at]) == _SAVE_R2:
                    stubs[address - 4] = slots[slot]
            else:
                yield Use("load", address, slots[slot])
    for load in image.code():
        for at, word in words_of(image.bytes_at(load.offset, load.size & ~3)):
            if word & 0xFC000002 == 0x48000000:  # b and bl: 24 bits, signed, in words
                target = load.vaddr + at + ((word & 0x3FFFFFC) ^ 0x2000000) - 0x2000000
                if target in stubs:
                    yield Use("call" if word & 1 else "jump", load.vaddr + at, stubs[target])


def _ppc64_loads(body: memoryview, table: int) -> Iterator[tuple[int, int, int]]:
    """Loads relative to the table: where they begin, what is loaded, and where it goes on."""
    for match in _OF_R2.finditer(body):
        at = match.start() - 2
        if at < 0 or at & 3 or at + 8 > len(body):
            continue
        word, following = unpack_from("<2I", body, at)
        is_load = following & 0xFC000003 == 0xE8000000 and following >> 16 & 31 == word >> 21 & 31
        if word & 0xFC000003 == 0xE8000000:  # ld rD, distance(r2)
            yield at, table + _low(word), at + 4
        elif word >> 26 == 0xF and is_load:  # addis rX, r2, high; ld rD, low(rX)
            yield at, table + (_low(word) << 16) + _low(following), at + 8


def _low(word: int) -> int:
    return ((word & 0xFFFF) ^ 0x8000) - 0x8000


def _table_of_contents(image: Image) -> Optional[int]:
    """What r2 holds, by the beginnings of functions, which reckon it from their own address; the one they agree on."""
    found: Counter[int] = Counter()
    for load in image.code():
        before = 0
        for at, word in words_of(image.bytes_at(load.offset, load.size & ~3)):
            # addis r2, r12, high; addi r2, r2, low
            if word >> 16 == 0x3842 and before >> 16 == 0x3C4C and len(found) < MOST_SLOTS:
                found[load.vaddr + at - 4 + (_low(before) << 16) + _low(word)] += 1
            before = word
    ranked = found.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] < 9 * ranked[1][1]):
        return None
    return ranked[0][0]


# --- s390x -------------------------------------------------------------------------------------------------------

# larl and lgrl; jg and brasl: all of them by 32 bits of halfwords
_S390_LOAD, _S390_BRANCH = re.compile(rb"[\xc0\xc4]"), re.compile(rb"\xc0")
_S390_STUB = b"\xe3\x10\x10\x00\x00\x04\x07\xf1"


def s390_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The places of s390x code that use one of the slots."""
    stubs: dict[int, str] = {}
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _S390_LOAD.finditer(body):
            at = match.start()
            if at & 1 or at + 6 > len(body):
                continue
            kind = body[at], body[at + 1] & 15
            target = load.vaddr + at + 2 * _SIGNED_BIG.unpack_from(body, at + 2)[0]
            if kind in ((0xC0, 0), (0xC4, 8)) and target in slots:
                if bytes(body[at + 6 : at + 14]) == _S390_STUB and len(stubs) < MOST_SLOTS:
                    stubs[load.vaddr + at] = slots[target]
                else:
                    yield Use("load", load.vaddr + at, slots[target])
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _S390_BRANCH.finditer(body):
            at = match.start()
            if at & 1 or at + 6 > len(body) or body[at + 1] & 15 not in (4, 5):
                continue
            target = load.vaddr + at + 2 * _SIGNED_BIG.unpack_from(body, at + 2)[0]
            if target in stubs:
                yield Use("call" if body[at + 1] & 15 == 5 else "jump", load.vaddr + at, stubs[target])


# --- riscv64 -----------------------------------------------------------------------------------------------------

# auipc and jal, by their lowest byte
_AUIPC = re.compile(rb"[\x17\x97]")
_JAL = re.compile(rb"[\x6f\xef](?=[\x00\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0])")


def riscv_uses(image: Image, slots: Mapping[int, str]) -> Iterator[Use]:
    """The places of riscv64 code that use one of the slots."""
    stubs: dict[int, str] = {}
    calls: list[tuple[str, int, int]] = []
    for load in image.code():
        body = image.bytes_at(load.offset, load.size)
        for match in _AUIPC.finditer(body):
            at = match.start()
            if at & 1 or at + 8 > len(body):
                continue
            first, second = unpack_from("<2I", body, at)
            register = first >> 7 & 31
            if register == 0 or second >> 15 & 31 != register:
                continue
            target = load.vaddr + at + _signed(first & 0xFFFFF000, 32) + _signed(second >> 20, 12)
            if second & 0x707F == 0x3003 and target in slots:  # ld
                third = _WORD.unpack_from(body, at + 8)[0] if at + 12 <= len(body) else 0
                # jalr t1, rX: of a stub
                if third == 0x00000367 | (second >> 7 & 31) << 15 and len(stubs) < MOST_SLOTS:
                    stubs[load.vaddr + at] = slots[target]
                else:
                    yield Use("load", load.vaddr + at, slots[target])
            elif second & 0x707F == 0x67 and second >> 7 & 31 in (0, 1) and len(calls) < 10 * MOST_SLOTS:  # jalr
                calls.append(("call" if second >> 7 & 31 else "jump", load.vaddr + at, target))
        for match in _JAL.finditer(body):
            at = match.start()
            if at & 1 or at + 4 > len(body) or len(calls) > 20 * MOST_SLOTS:
                continue
            word = _WORD.unpack_from(body, at)[0]
            distance = (
                (word >> 31 << 20) | (word >> 12 & 0xFF) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 0x3FF) << 1
            )
            calls.append(("call" if word & 0x80 else "jump", load.vaddr + at, load.vaddr + at + _signed(distance, 21)))
    for how, address, target in calls:
        if target in stubs:
            yield Use(how, address, stubs[target])


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


__all__ = ["arm_uses", "i386_uses", "ppc64_uses", "riscv_uses", "s390_uses"]
