"""A verdict explained: object, library, symbol, who calls for it; what one step better would take; what to type. Pure.

Text for people and the data behind it (``explanation`` in ``audit --json --explain``), both from one look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

from ..auditing.callers import Caller, Calls
from ..auditing.closer import Closer
from ..auditing.demangle import demangle
from ..auditing.explain import line_of
from ..auditing.finding import Finding
from ..auditing.steps import Remedy, Step, find_remedy, next_better, plan_remedies, plan_steps
from ..errors import one_line
from .text import verdict_text

_FEW, _FEW_PLACES = 6, 3
_HOW = {"call": "called by", "jump": "called by", "load": "its address is taken by", "data": "its address is in"}
# Findings of which the symbol says it all.
_OF_SYMBOLS = ("symbol-version", "undefined-symbol", "forbidden-symbol", "musl-symbol")


# --- text --------------------------------------------------------------------------------------------------------


def explained_text(look: Closer, path: str, verbose: bool = False) -> str:
    """One wheel in full. Lines are as long as their names are: whoever prints them breaks them, or nobody does.

    :param path: the wheel, as it was given.
    :param verbose: every finding and every place that was found, not the first few.
    """
    verdict = look.verdict
    if verdict.pure:
        return verdict_text(look.name, verdict, verbose)
    lines = verdict_text(look.name, verdict).splitlines()[:2]
    steps = plan_steps(verdict)
    lines += _policy_lines(steps)
    for step in steps:
        if step.own:
            lines += [_heading(step, steps), *_tree(step.own, look, verbose)]
    lines += _better_lines(look, path, steps)
    lines += _other_lines(look, path, verbose)
    return "\n".join(map(one_line, lines))


def _heading(step: Step, steps: Sequence[Step]) -> str:
    if step is steps[0]:
        return "  in the way of every policy:"
    if step is steps[-1]:
        return f"  in the way of {step.tag.policy}:"
    return f"  in the way of {step.tag.policy} and what is older:"


def _policy_lines(steps: Sequence[Step]) -> list[str]:
    """A line for all policies alike: those that are true, and those that the same findings stand in the way of."""
    groups: list[list[Step]] = []
    for step in steps:
        same = groups and (groups[-1][-1].true, len(groups[-1][-1].blockers)) == (step.true, len(step.blockers))
        groups.append([*groups.pop(), step] if same else [step])
    lines = ["  policies, the newest first:"] if steps else []
    names = [" … ".join(dict.fromkeys((group[0].tag.policy, group[-1].tag.policy))) for group in groups]
    width = max(map(len, names), default=0)
    return [*lines, *(f"    {name:<{width}}  {_outcome(group[0])}" for name, group in zip(names, groups))]


def _outcome(step: Step) -> str:
    if step.true:
        return "true"
    if step.true is None:
        return "not known: nothing in a file tells how old a musl it can do with"
    if not step.blockers:
        return "no: older than the first policy"
    files = len({finding.member for finding in step.blockers})
    return f"no: {_count(len(step.blockers), 'thing')} in the way, in {_count(files, 'file')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _tree(findings: Sequence[Finding], look: Closer, verbose: bool) -> Iterator[str]:
    """Object, library, symbol, places."""
    for member in dict.fromkeys(finding.member for finding in findings):
        yield f"    {member}"
        of_member = [finding for finding in findings if finding.member == member]
        for library in dict.fromkeys(finding.library for finding in of_member):
            group = [finding for finding in of_member if finding.library == library]
            symbols = [finding for finding in group if finding.kind in _OF_SYMBOLS and finding.symbol]
            for finding in group:
                if finding not in symbols:
                    yield f"      {finding.message}"
                    yield from _example_lines(finding, look, verbose)
            if symbols:
                yield f"      {library or 'no library'}"
            for finding in symbols if verbose else symbols[:_FEW]:
                ceiling = f" → {finding.ceiling.policy}" if finding.ceiling else ""
                plain = f"needs {finding.symbol} of {library}"
                note = "" if finding.message == plain else f": {finding.message}"
                yield f"        {finding.symbol}{note}{ceiling}"
                yield from _place_lines(look.calls.get((member, finding.symbol or "")), "          ", verbose)
            if not verbose and len(symbols) > _FEW:
                yield f"        … and {len(symbols) - _FEW} more (-v shows them)"


def _example_lines(finding: Finding, look: Closer, verbose: bool) -> Iterator[str]:
    for symbol in look.examples.get((finding.member, finding.library or ""), ()):
        yield f"        {symbol}"
        yield from _place_lines(look.calls.get((finding.member, symbol)), "          ", verbose)


def _place_lines(calls: Optional[Calls], indent: str, verbose: bool) -> Iterator[str]:
    if calls is None:
        return
    if calls.unknown:
        yield f"{indent}who calls it is not known: {calls.unknown}"
    shown = calls.callers if verbose else calls.callers[:_FEW_PLACES]
    for caller in shown:
        yield f"{indent}{place_text(caller, verbose)}"
    if calls.total > len(shown):
        yield f"{indent}… and {_count(calls.total - len(shown), 'more place')}"


def place_text(caller: Caller, verbose: bool = False) -> str:
    """One place in words, with all that is known of it; the compiler if it is to be verbose."""
    part = "data" if caller.how == "data" else "code"
    where = demangle(caller.function or "") or f"{part} at {caller.address:#x}, of which no symbol table tells the name"
    origin = [caller.source or caller.unit or ""]
    if caller.source and caller.unit and caller.source.rpartition(":")[0] != caller.unit:
        origin.append(f"compiled in {caller.unit}")
    origin += [f"crate {caller.crate}"] if caller.crate else []
    origin += [caller.object] if caller.object else []
    origin += [f"by {caller.compiler}"] if caller.compiler and verbose else []
    told = ", ".join(filter(None, origin)) or ("source not known" if caller.function else "")
    return f"{_HOW[caller.how]} {where}" + (f" ({told})" if told else "")


def _better_lines(look: Closer, path: str, steps: Sequence[Step]) -> list[str]:
    better = next_better(look.verdict, steps)
    if better is None:
        return []
    files = len({finding.member for finding in better.blockers})
    what = "any policy at all" if look.verdict.policy is None else f"one step better, {better.tag.policy},"
    gone = f"{_count(len(better.blockers), 'thing')} gone, in {_count(files, 'file')}"
    head = f"  {what} would take {gone}; then the wheel is {better.reaches.policy}:"
    return [head, *_remedy_lines(plan_remedies(better.blockers, path, better.target))]


def _remedy_lines(remedies: Iterable[Remedy]) -> Iterator[str]:
    for remedy in remedies:
        if remedy.cure:
            yield f"    cure: {remedy.cure}"
        if remedy.command:
            yield f"      $ {remedy.command}"
        if remedy.setting:
            condition = f", {remedy.condition}" if remedy.condition else ""
            yield f"      in [tool.portable-backend] of pyproject.toml{condition}:"
            yield from (f"        {line}" for line in remedy.setting)


def _other_lines(look: Closer, path: str, verbose: bool) -> Iterator[str]:
    """What makes the ABI tag untrue, and the warnings, each with what cures it."""
    of_abi = [finding for finding in look.verdict.findings if not (finding.warning or finding.limits)]
    warnings = [finding for finding in look.verdict.findings if finding.warning]
    for head, findings in (("  what makes its ABI tag untrue:", of_abi), ("  warnings:", warnings)):
        shown = findings if verbose else findings[:_FEW]
        if shown:
            yield head
        yield from (f"    {line_of(finding)}" for finding in shown)
        if len(shown) < len(findings):
            yield f"    … and {len(findings) - len(shown)} more (-v shows them)"
        yield from _remedy_lines(plan_remedies(shown, path, None))


# --- data --------------------------------------------------------------------------------------------------------


def explanation_data(look: Closer, path: str) -> dict[str, Any]:
    """What stands under ``explanation``. Findings are named by their place in the list ``findings`` beside it."""
    verdict = look.verdict
    places = {id(finding): number for number, finding in enumerate(verdict.findings)}
    steps = plan_steps(verdict)

    def numbers(findings: Iterable[Finding]) -> list[int]:
        return [places[id(finding)] for finding in findings]

    better = next_better(verdict, steps)
    return {
        "policies": [
            {
                "tag": str(step.tag),
                "names": list(step.tag.names),
                "true": step.true,
                "in_the_way": numbers(step.blockers),
            }
            for step in steps
        ],
        "one_step_better": better
        and {
            "tag": str(better.tag),
            "reaches": str(better.reaches),
            "in_the_way": numbers(better.blockers),
            "remedies": [_remedy_data(each) for each in plan_remedies(better.blockers, path, better.target)],
        },
        "remedies": [_remedy_data(find_remedy(finding, path)) for finding in verdict.findings],
        "symbols": list(_symbols_data(look, places)),
    }


def _remedy_data(remedy: Remedy) -> dict[str, Any]:
    setting = "\n".join(remedy.setting) or None
    return {"cure": remedy.cure, "command": remedy.command, "setting": setting, "condition": remedy.condition}


def _symbols_data(look: Closer, places: dict[int, int]) -> Iterator[dict[str, Any]]:
    for finding in look.verdict.findings:
        of_library = look.examples.get((finding.member, finding.library or ""), ()) if finding.symbol is None else ()
        for symbol in (finding.symbol,) if finding.symbol else of_library:
            calls = look.calls.get((finding.member, symbol))
            if calls is not None:
                yield {
                    "finding": places[id(finding)],
                    "member": finding.member,
                    "library": finding.library,
                    "symbol": symbol,
                    "places": [_place_data(caller) for caller in calls.callers],
                    "places_total": calls.total,
                    "unknown": calls.unknown,
                }


def _place_data(caller: Caller) -> dict[str, Any]:
    return {
        "how": caller.how,
        "address": caller.address,
        "function": caller.function,
        "demangled": demangle(caller.function) if caller.function else None,
        "source": caller.source,
        "unit": caller.unit,
        "object": caller.object,
        "crate": caller.crate,
        "language": caller.language,
        "compiler": caller.compiler,
    }


__all__ = ["explained_text", "explanation_data", "place_text"]
