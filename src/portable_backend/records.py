"""What of :mod:`typing` is wanted while a program runs, without its import: every command waits for that.

To a type checker these are the ones of that module. ``NamedTuple`` takes a third of the time to define besides:
:class:`typing.NamedTuple` compiles each annotation, though with ``from __future__ import annotations`` nobody asks for
its value. ``Generic`` takes the name of a parameter, as ``Generic["T"]``, since ``T`` is no value here.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for theirs, without importing typing
if TYPE_CHECKING:
    from typing import Generic, NamedTuple
else:
    from collections import namedtuple

    class _Definition(type):
        def __new__(cls, name, bases, body):  # noqa: ARG004
            fields = tuple(body["__annotations__"])
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key != "__module__":
                    setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_Definition, "NamedTuple", (), {})

    class Generic:
        def __class_getitem__(cls, _):
            return cls


__all__ = ["Generic", "NamedTuple"]
