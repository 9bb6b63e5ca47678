"""What every kind of runtime can do; one file implements it for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from regkeeper.nodes.reasons import Problem
from regkeeper.nodes.record import Ledger


@dataclass(frozen=True, slots=True)
class Change:
    """A file before and after; None: absent."""

    path: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a runtime is and what would be done about it. Taking a look changes nothing."""

    present: bool
    """Whether the runtime is on this node, or something of ours is left from when it was."""
    version: str = ""
    changes: tuple[Change, ...] = ()
    """In the order in which they are made; the same path may come twice."""
    ours: frozenset[str] = frozenset()
    """Hosts that need an entry of ours."""
    refused: dict[str, Problem] = field(default_factory=dict)
    """Host → why it can't be had."""
    suspects: dict[str, Problem] = field(default_factory=dict)
    """Host → what is to blame if the registry does not answer through this runtime."""
    problems: tuple[Problem, ...] = ()
    acts: bool = False
    """Whether `act` has anything to do: a change, or a reload."""
    repairs: bool = False
    """Somebody undid us, and the changes put it back."""


LookT = TypeVar("LookT", bound=Look)


class Runtime(Protocol[LookT]):
    """A kind of container runtime on this node."""

    name: str

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> LookT:
        """See what is there and plan; changes nothing but what a killed agent left half done in the record."""

    def act(self, look: LookT, ledger: Ledger) -> None:
        """Carry the plan out.

        Raises:
            NodeProblemError: it could not be; the node is as before, or as the record says.
        """

    def ask(self, host: str) -> str:
        """Make the runtime ask the registry; its error, empty if there was none. May block for 20 s.

        Raises:
            NodeProblemError: the runtime does not answer.
        """

    def watched(self) -> Sequence[str]:
        """Directories and files whose change is worth a look."""

    def reverted(self, ledger: Ledger) -> bool:
        """Nothing of ours is left at this runtime."""
