"""Regular expressions that are compiled when they are first used: compiling takes longer than what most commands do by
one, and none uses all of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any, AnyStr

    def later(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
        """The pattern; what is wrong with it is only said when it is used."""

else:

    class later:  # noqa: N801  # to a type checker a function
        def __init__(self, pattern: Any, flags: int = 0) -> None:
            self.pattern, self.flags = pattern, flags

        def __getattr__(self, name: str) -> Any:
            import re  # where no expression is used, it is not imported either

            value = getattr(re.compile(self.pattern, self.flags), name)
            setattr(self, name, value)  # asked for once
            return value


__all__ = ["later"]
