"""What each window costs, learned from measuring it. Core.

A window whose signature was measured twice with the same result is replayed from then
on; a family of signatures that differ in sizes alone is, as soon as a polynomial is
proven. One in 256 is measured again: if it differs, its owner (a root module, a place
that runs backwards) is never replayed again.
"""

from typing import Any, Dict, Hashable, Iterator, List, NamedTuple, Tuple

from flopguard_hook.pieces import Pieces, fit_pieces
from flopguard_hook.polynomials import Charges, Polynomial, Sizes, fit

REMEASURED_EVERY = 256
_AGREEING = 2
_CAREFUL_AGREEING = 8
_CAREFUL_EVERY = 16
_MOST_DISAGREEING = 4
_FEWEST_POINTS = 4
_MOST_POINTS = 48
_MOST_FIGURES = 8192
_QUIET = 2
_MOST_SITES = 4096
_LATE_SECONDS, _LATE_TIMES = 0.02, 8
_MOST_DRIFTS = 16


class Drift(NamedTuple):
    """A figure that was replayed and turned out to be another.

    Attributes:
        window: What was replayed.
        expected: FLOPs that each replay added.
        measured: FLOPs that it costs now.
        replayed: How often its family was replayed since it was last right.
    """

    window: str
    expected: int
    measured: int
    replayed: int


class Owner:
    """Whose windows are replayed or not.

    Attributes:
        name: For people.
        off: Why its windows are measured every time; empty if they are replayed.
    """

    __slots__ = ("name", "off")

    def __init__(self, name: str, off: str = "") -> None:
        self.name = name
        self.off = off


class Family:
    """Signatures that differ in sizes alone.

    Attributes:
        owner: Whose windows these are.
        kinds: Of each size.
        figures: What each signature costs.
        polynomial: Proven for all of them, or in pieces; None if not (yet).
        replayed: Replays since the last measurement that confirmed one.
        was_replayed: Whether there was any replay at all.
        calls: Windows so far.
        about: For the shell: what it knows about the family.
        careful: Whether its windows choose rows by what tensors hold: each signature
            is then measured more often before it is replayed, and while it is.
    """

    __slots__ = (
        "_disagreeing",
        "_next_fit",
        "_points",
        "about",
        "calls",
        "careful",
        "figures",
        "kinds",
        "owner",
        "polynomial",
        "replayed",
        "was_replayed",
    )

    def __init__(self, owner: Owner, kinds: str, about: Any) -> None:
        self.owner = owner
        self.kinds = kinds
        self.figures: Dict[Sizes, Figure] = {}
        self.polynomial: "Polynomial | Pieces | None" = None
        self.careful = False
        self.replayed = 0
        self.was_replayed = False
        self.calls = 0
        self.about = about
        self._points: Dict[Sizes, Charges] = {}
        self._next_fit = _FEWEST_POINTS
        self._disagreeing = 0

    def disagreed(self) -> bool:
        """Note two measurements of one signature that differ; say if too often."""
        self._disagreeing += 1
        return self._disagreeing >= _MOST_DISAGREEING

    def add_point(self, sizes: Sizes, charges: Charges) -> None:
        """Note a measurement and prove the polynomial anew."""
        if len(self._points) >= _MOST_POINTS:
            for old in list(self._points)[1:-1:2]:
                del self._points[old]
        self._points[sizes] = charges
        had = self.polynomial
        if len(self._points) < self._next_fit and not isinstance(had, Polynomial):
            said = charges if had is None else had.at(sizes)
            if said is None or said == charges:
                return  # finding pieces takes long
        self.polynomial = self._fitted()
        if not isinstance(self.polynomial, Polynomial):
            self._next_fit = len(self._points) * 5 // 4 + 1
        if had is not None:
            self._withdraw(had)

    def _withdraw(self, had: "Polynomial | Pieces") -> None:
        """Take back what was predicted and is not said any more."""
        now = self.polynomial
        if (
            isinstance(had, Polynomial)
            and isinstance(now, Polynomial)
            and had.is_confirmed_by(now)
        ):
            return
        for figure in self.figures.values():
            if now is None or now.at(figure.sizes) != figure.charges:
                figure.withdraw_prediction()

    def _fitted(self) -> "Polynomial | Pieces | None":
        found = fit(self._points, self.kinds)
        if found is None and len(self._points) > _FEWEST_POINTS:
            # The very first call may have done something once.
            first = next(iter(self._points))
            rest = {s: c for s, c in self._points.items() if s != first}
            found = fit(rest, self.kinds)
            if found is None and not self._disagreeing:
                return fit_pieces(rest, self.kinds)
        return found


class Figure:
    """What one signature costs.

    Attributes:
        family: Whose signature it is.
        sizes: Its sizes.
        charges: As last measured or predicted; None if unknown.
        calls: Windows with this signature.
        about: For the shell: what it knows about the signature.
    """

    __slots__ = (
        "_agreeing",
        "_predicted",
        "about",
        "calls",
        "charges",
        "family",
        "sizes",
    )

    def __init__(self, family: Family, sizes: Sizes) -> None:
        self.family = family
        self.sizes = sizes
        self.charges: "Charges | None" = None
        self.calls = 0
        self.about: Any = None
        self._agreeing = 0
        self._predicted = False

    @property
    def is_proven(self) -> bool:
        """Whether the charges can be replayed."""
        if self.family.careful:
            return self._agreeing >= _CAREFUL_AGREEING
        if self._agreeing >= _AGREEING or self._predicted:
            return True
        polynomial = self.family.polynomial
        predicted = polynomial.at(self.sizes) if polynomial is not None else None
        if predicted is None or self.charges not in {None, predicted}:
            return False
        self.charges = predicted
        self._predicted = True
        return True

    def withdraw_prediction(self) -> None:
        """Forget what the family's polynomial said."""
        if self._predicted:
            self._predicted = False
            if not self._agreeing:
                self.charges = None

    def measured(self, charges: Charges) -> bool:
        """Note a measurement; return whether it is as before."""
        same = self.charges is None or self.charges == charges
        if self.charges is None or not same:
            self.charges = charges
            self._agreeing = 1
            self._predicted = False
            self.family.add_point(self.sizes, charges)
        else:
            self._agreeing += 1
        return same


class Replay:
    """Decides which windows are measured.

    Attributes:
        measured: Windows measured so far.
        replayed: Windows replayed so far.
        drifts: The first figures that turned out wrong.
        why: Why every window is measured, if torch is to blame; else empty.

    Args:
        on: False to measure every window.
    """

    def __init__(self, *, on: bool = True) -> None:
        self.on = on
        self.why = ""
        self.measured = 0
        self.replayed = 0
        self.drifts: List[Drift] = []
        self._families: Dict[Hashable, Family] = {}
        self._figures = 0

    def family(self, structure: Hashable) -> "Family | None":
        """Return the family of a structure, if it has been met."""
        return self._families.get(structure)

    def add_family(
        self, structure: Hashable, owner: Owner, kinds: str, about: Any = None
    ) -> Family:
        """Return a new family for a structure."""
        if self._figures > _MOST_FIGURES:  # whatever is in use is soon learned again
            self._families.clear()
            self._figures = 0
        family = self._families[structure] = Family(owner, kinds, about)
        return family

    def figure(self, family: Family, sizes: Sizes) -> Figure:
        """Return what a family knows of these sizes."""
        figure = family.figures.get(sizes)
        if figure is None:
            self._figures += 1
            figure = family.figures[sizes] = Figure(family, sizes)
        return figure

    def figures(self) -> "Iterator[Tuple[Family, Figure]]":
        """Return every figure with its family."""
        for family in list(self._families.values()):
            for figure in list(family.figures.values()):
                yield family, figure

    def is_known(self, figure: Figure) -> bool:
        """Say whether a window of this signature costs what its figure says."""
        return self.on and not figure.family.owner.off and figure.is_proven

    def is_replayed(self, figure: Figure) -> bool:
        """Decide whether the next window of this signature is replayed."""
        family = figure.family
        family.calls += 1
        figure.calls += 1
        every = _CAREFUL_EVERY if family.careful else REMEASURED_EVERY
        if not self.is_known(figure) or family.calls % every == 0:
            return False
        family.replayed += 1
        family.was_replayed = True
        self.replayed += 1
        return True

    def learn(self, figure: Figure, charges: Charges) -> "Drift | None":
        """Note what a measured window cost; return the drift that it showed, if any."""
        self.measured += 1
        family = figure.family
        if family.owner.off:
            return None
        expected = figure.charges if figure.is_proven else None
        same = figure.measured(charges)
        if same:
            family.replayed = 0 if expected is not None else family.replayed
            return None
        if expected is None or not family.was_replayed:
            if family.disagreed():
                family.owner.off = "its cost differs from call to call"
            return None
        family.owner.off = "a figure that was replayed turned out wrong"
        drift = Drift(
            family.owner.name, _total(expected), _total(charges), family.replayed
        )
        if len(self.drifts) < _MOST_DRIFTS:
            self.drifts.append(drift)
        return drift


class Sites:
    """Where, between windows, operators that count were met.

    A site is where the program was when the stretch between two windows began. If
    nothing was counted there twice, it is only looked at now and then, and after a
    stretch that took much longer than those: the program left its loop, and did
    something else before the next window.

    Attributes:
        unwatched: Seconds of such stretches.
    """

    def __init__(self) -> None:
        self.unwatched = 0.0
        self._quiet: Dict[Hashable, List[float]] = {}  # times, longest
        self._loud: "set[Hashable]" = set()

    def is_skipped(self, site: Hashable, every: int) -> bool:
        """Decide whether the next stretch from here is not measured.

        Args:
            site: Where it begins.
            every: One in so many is measured though the site has been quiet.
        """
        known = self._quiet.get(site)
        if known is None or known[0] < _QUIET:
            return False
        known[0] += 1
        return (known[0] - 1) % every != 0

    def skipped(self, site: Hashable, seconds: float) -> None:
        """Note how long a stretch took that was not measured."""
        if seconds <= _LATE_SECONDS:
            return
        known = self._quiet.get(site)
        if known and known[0] and seconds > _LATE_SECONDS + _LATE_TIMES * known[1]:
            known[:] = 0, seconds
            self.unwatched += seconds

    def learn(self, site: Hashable, seconds: float, *, quiet: bool) -> bool:
        """Note a measured stretch; return whether the site had been skipped wrongly."""
        if site in self._loud:
            return False
        times, longest = self._quiet.pop(site, (0, 0.0))
        if quiet:
            if len(self._quiet) >= _MOST_SITES:
                self._quiet.clear()
            self._quiet[site] = [times + 1, max(longest, seconds)]
            return False
        if len(self._loud) >= _MOST_SITES:
            self._loud.clear()
        self._loud.add(site)
        return times > _QUIET


def _total(charges: Charges) -> int:
    return sum(flops for _, flops in charges)
