"""One release or several: what may compose with what."""

from collections.abc import Iterable

from privrobust.accountants.release import Release
from privrobust.core.numbers import shown
from privrobust.errors import SpecError

Releases = Release | Iterable[Release]


def as_sequence(releases: Releases) -> tuple[Release, ...]:
    """Return one release or several as a tuple that can be composed.

    Raises:
        SpecError: there is none, or they do not protect the same thing.

    """
    if isinstance(releases, Release):
        return (releases,)
    try:
        several = tuple(releases)
    except TypeError:  # no iterable
        raise SpecError(f"releases: {shown(releases)} is not a Release, nor several") from None
    for release in several:
        if not isinstance(release, Release):
            raise SpecError(f"releases: {shown(release)} is not a Release")
    if not several:
        raise SpecError("releases: an empty sequence; give at least one Release")
    for name in ("unit", "adjacency"):
        values = sorted({getattr(release, name) for release in several})
        if len(values) > 1:
            raise SpecError(f"{name}: releases that compose must agree, not {' and '.join(values)}")
    if len(several) > 1:
        for release in several:
            if release.selection:
                raise SpecError(
                    f"repeats: {release.repeats} of one release among several; accepted: of a "
                    "release that composes with no other"
                )
    return several
