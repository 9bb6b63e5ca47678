"""A runtime about which there is never anything to do, for tests of the engine around it."""

from collections.abc import Sequence

from regkeeper.nodes.record import Ledger
from regkeeper.nodes.runtime import Look


class StillRuntime:
    """Has every host, and answers each question as a registry that is there."""

    name = "still"
    present = True

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> Look:
        return Look(present=self.present, ours=frozenset(hosts))

    def act(self, look: Look, ledger: Ledger) -> None:
        raise AssertionError("there is nothing to do")

    def ask(self, host: str) -> str:
        return ""

    def watched(self) -> Sequence[str]:
        return ()

    def reverted(self, ledger: Ledger) -> bool:
        return True
