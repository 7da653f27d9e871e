"""``cache``: what the container strategy keeps between builds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import PortableBackendError, UsageError
from ..report.printing import complain, print_json, progress_of
from ..signs import working
from .parsing import CommandParser
from .plain import add_quiet

if TYPE_CHECKING:
    from ..strategies.container.engine import CacheItem, Engine


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``cache``."""
    from ..settings import ENGINES

    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=CommandParser)
    for name, run, text in (
        ("info", _run_cache_info, "list volumes and images with their sizes"),
        ("clear", _run_cache_clear, "remove them"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.about = text
        verb.add_argument("kinds", metavar="KIND", nargs="*", help="pip, uv, cargo, …, before-all (default: all)")
        verb.add_argument("--engine", choices=ENGINES, default="auto", help="default: the first that answers")
        verb.add_argument("--json", action="store_true", help="print one JSON object")
        add_quiet(verb)
        verb.set_defaults(run=run)


def _cached(options: argparse.Namespace) -> tuple[Engine, list[CacheItem]]:
    from ..strategies.container.engine import find_engine
    from ..strategies.container.images import KINDS, kind_of

    unknown = sorted(set(options.kinds) - set(KINDS))
    if unknown:
        raise UsageError(f"unknown kind {unknown[0]}", f"the kinds are {', '.join(KINDS)}")
    with working("looking for an engine", options.quiet):
        engine = find_engine(options.engine)
        progress_of(options)(f"asking {engine.description}, which adds up sizes")
        kept = engine.kept()
    return engine, [item for item in kept if not options.kinds or kind_of(item) in options.kinds]


def _run_cache_info(options: argparse.Namespace) -> int:
    from ..report.data import cache_data
    from ..report.text import cache_text

    engine, items = _cached(options)
    if options.json:
        print_json(cache_data(engine.description, items))
    else:
        print(cache_text(engine.description, items))
    return 0


def _run_cache_clear(options: argparse.Namespace) -> int:
    from ..report.data import cache_data

    engine, items = _cached(options)
    worst, dropped = 0, []
    for item in items:
        try:
            with working(f"removing {item.name}", options.quiet):
                engine.drop(item)
        except PortableBackendError as error:  # a build may be using it right now; the others can go
            worst = max(worst, error.exit_code)
            complain(error)
        else:
            dropped.append(item)
    if options.json:
        print_json(cache_data(engine.description, dropped))
    else:
        print(f"removed {len(dropped)} of {len(items)}")
    return worst
