"""The intent that files of policies come to, read by a process of its own.

Pydantic, the models and YAML take as long to import as 2,000 images to read. So the process is forked when what both
need is imported, imports that while the first one imports the command line, is told the files once they are known,
answers, and ends. Whatever else becomes of it, it answers nothing, and the files are read here.
"""

import os
import pickle
import select
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.processes.forks import fork


class UnreadablePolicyError(ValueError):
    """A file of policies that can't be read, or means nothing.

    Args:
        option: by which it was given.
        message: the reason.
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(option, message)
        self.option = option
        self.message = message


def read_intent(policies: Sequence[str], also_keep: Sequence[str]) -> Intent:
    """What the policies in some files come to.

    Args:
        policies: files of what deletes; at least one.
        also_keep: files of what only keeps.

    Raises:
        UnreadablePolicyError: one can't be read.
    """
    from regkeeper.retention.policies.policy import LARGEST_POLICY, InvalidPolicyError, merge, read_policies

    read = []
    for option, files in (("--policy", policies), ("--also-keep", also_keep)):
        of_option = []
        for name in files:
            try:
                with open(name, encoding="utf-8") as file:
                    of_option += read_policies(file.read(LARGEST_POLICY + 1), name)
            except UnicodeDecodeError:
                raise UnreadablePolicyError(option, f"{name}: it is no text in UTF-8") from None
            except (OSError, InvalidPolicyError) as error:
                raise UnreadablePolicyError(option, str(error)) from None
        read.append(of_option)
    return merge(*read)


class PolicyProcess:
    """The process. It ends with its answer, or with this process."""

    def __init__(self) -> None:
        asked, self._asking = os.pipe()
        self._answered, answering = os.pipe()
        try:
            self.child = fork(partial(_serve, asked, answering, not_ours=(self._asking, self._answered)))
        finally:
            os.close(asked)
            os.close(answering)

    def ask(self, policies: Sequence[str], also_keep: Sequence[str]) -> None:
        """Ask, once, for what the policies in some files come to."""
        with suppress(BrokenPipeError), open(self._asking, "wb") as asking:
            pickle.dump((policies, also_keep), asking)

    @property
    def is_busy(self) -> bool:
        """It has been asked, and its answer, if ever there is one, is not here."""
        return not select.select([self._answered], [], [], 0)[0]

    def answer(self) -> Intent | None:
        """What the policies come to; None: it was killed, or failed in some other way.

        Raises:
            UnreadablePolicyError: one can't be read.
        """
        try:
            with suppress(EOFError, pickle.UnpicklingError), open(self._answered, "rb") as answered:
                answer: Intent | UnreadablePolicyError = pickle.load(answered)  # noqa: S301 - what a fork has written
                if isinstance(answer, UnreadablePolicyError):
                    raise answer
                return answer
            return None
        finally:
            with suppress(ChildProcessError):  # who started this process may have told it to ignore SIGCHLD
                os.waitpid(self.child, 0)


def started() -> PolicyProcess | None:
    """The process; None if there can be no further one."""
    with suppress(OSError):
        return PolicyProcess()
    return None


def _serve(asked: int, answering: int, not_ours: Iterable[int]) -> None:
    """Import, wait for the question, and answer it. Nothing is ever printed from here."""
    for descriptor in not_ours:
        os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # who waits for the command's output to end must not wait for this process
        os.dup2(nowhere, stream)
    import regkeeper.retention.policies.policy  # noqa: F401 - what takes so long

    with open(asked, "rb") as question:
        files = pickle.load(question)  # noqa: S301 - from the first process
    answer: object
    try:
        answer = read_intent(*files)
    except UnreadablePolicyError as error:
        answer = error
    with open(answering, "wb") as file:
        pickle.dump(answer, file, pickle.HIGHEST_PROTOCOL)
