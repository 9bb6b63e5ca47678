"""The subjects of signatures, attestations and other dependants, looked up on the whole volume."""

from enum import Enum

from msgspec import Struct, field

from regkeeper.retention.volume.digests import Subject, can_be_looked_up


class State(Enum):
    """What becomes of a subject in a run."""

    ALIVE = "alive"
    """A repository keeps it, or it can't be read."""
    GOING = "going"
    """Every repository that has it deletes it in this run."""
    NOWHERE = "nowhere"
    """No repository has a revision link to it."""
    UNKNOWN = "unknown"
    """It can't be looked up: what names it can't be read, or is a digest beside which it may have a SHA-256."""


class Subjects(Struct):
    """What is known of the subjects so far.

    Attributes:
        present: those that some repository has a revision of.
        going: those that no repository keeps. Only ever grows while a plan is made: what is deleted with a subject
            may itself be one.
        certain: False if a repository could not be listed, so that nothing can be said to be nowhere.
        doubted: those that every repository may delete that has them; the others stay somewhere.
        shared: those that several of the repositories have that name subjects.
        keepers: the names of the repositories that are known to keep each of those that are present.
    """

    present: set[Subject] = field(default_factory=set)
    going: set[Subject] = field(default_factory=set)
    certain: bool = True
    doubted: set[Subject] = field(default_factory=set)
    shared: set[Subject] = field(default_factory=set)
    keepers: dict[Subject, set[str]] = field(default_factory=dict)

    def state(self, subject: Subject) -> State:
        if subject in self.present:
            return State.GOING if subject in self.going and self.certain else State.ALIVE
        if not can_be_looked_up(subject):
            return State.UNKNOWN
        return State.NOWHERE if self.certain else State.ALIVE

    def kept_outside(self, subject: Subject, repository: str) -> bool:
        """Whether another repository keeps the subject."""
        return bool(self.keepers.get(subject, set()) - {repository})

    def is_firm(self, subject: Subject, repository: str) -> bool:
        """Whether the life of a subject is settled without a repository."""
        elsewhere = self.kept_outside(subject, repository) or not self.certain  # maybe in what could not be listed
        return elsewhere or self.state(subject) is not State.ALIVE
