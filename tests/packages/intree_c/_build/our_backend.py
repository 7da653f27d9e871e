"""An in-tree backend as projects write them: setuptools', with something done before. It is an attribute of a class."""

from setuptools import build_meta


def _announce(hook):
    def run(*arguments, **named):
        print("in-tree backend at work")
        return hook(*arguments, **named)

    return staticmethod(run)


class Backend:
    class hooks:  # noqa: N801 - an object reference, as PEP 517 allows
        build_wheel = _announce(build_meta.build_wheel)
        build_sdist = _announce(build_meta.build_sdist)
        get_requires_for_build_wheel = _announce(build_meta.get_requires_for_build_wheel)
        prepare_metadata_for_build_wheel = _announce(build_meta.prepare_metadata_for_build_wheel)
