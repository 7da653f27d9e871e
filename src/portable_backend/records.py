"""What of :mod:`typing` is wanted while a program runs, without its import: every command waits for that.

To a type checker these are the ones of that module.

``NamedTuple`` takes a quarter of the time to define. :func:`collections.namedtuple` makes methods for each class, and
compiles one of them, which is here compiled when the first record is made; :class:`typing.NamedTuple` compiles each
annotation besides, though with ``from __future__ import annotations`` nobody asks for its value.

``Generic`` takes the name of a parameter, as ``Generic["T"]``, since ``T`` is no value here.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for theirs, without importing typing
if TYPE_CHECKING:
    from typing import Generic, NamedTuple
else:
    try:
        from collections import _tuplegetter  # twice as fast as what else there is
    except ImportError:
        from operator import itemgetter

        def _tuplegetter(index, _):
            return property(itemgetter(index))

    _new = tuple.__new__

    class _Record(tuple):
        """What the classes have in common."""

        __slots__ = ()

        @classmethod
        def _make(cls, values):
            made = _new(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"expected {len(cls._fields)} values, got {len(made)}")
            return made

        def _replace(self, /, **named):
            made = self._make(map(named.pop, self._fields, self))
            if named:
                raise ValueError(f"no such fields: {list(named)}")
            return made

        __replace__ = _replace

        def _asdict(self):
            return dict(zip(self._fields, self))

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(map('{}={!r}'.format, self._fields, self))})"

        def __getnewargs__(self):
            return tuple(self)

    def _constructor(kind, fields, defaults):
        """A function that makes a record of what it is called with, as fast as one that was written by hand."""
        names = ", ".join(fields)
        # Names of fields come from class bodies of ours alone, as with collections.namedtuple, which does the same.
        made = eval(f"lambda _cls, {names}: _new(_cls, ({names},))", {"_new": _new, "__builtins__": {}})  # noqa: S307
        made.__name__, made.__qualname__ = "__new__", f"{kind}.__new__"
        made.__defaults__ = defaults
        return made

    class _Definition(type):
        def __new__(cls, name, bases, body):  # noqa: ARG004
            fields = tuple(body["__annotations__"])
            defaults = {field: body[field] for field in fields if field in body}

            def __new__(cls, *values, **named):  # noqa: N807
                made.__new__ = staticmethod(_constructor(name, fields, tuple(defaults.values())))
                return made.__new__(cls, *values, **named)

            getters = {field: _tuplegetter(index, None) for index, field in enumerate(fields)}
            about = {"_fields": fields, "_field_defaults": defaults, "__match_args__": fields}
            made = type(name, (_Record,), {**body, **getters, **about, "__new__": __new__, "__slots__": ()})
            return made

    NamedTuple = type.__new__(_Definition, "NamedTuple", (), {})

    class Generic:
        def __class_getitem__(cls, _):
            return cls


__all__ = ["Generic", "NamedTuple"]
