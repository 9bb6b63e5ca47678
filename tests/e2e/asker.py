"""The API server, asked as one of its users: what it would refuse, and which rights it gives."""

import json

from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.helm import Object


class Asker:
    """Asks the API server as one of its users."""

    def __init__(self, cluster: Cluster, user: str, namespace: str) -> None:
        self._cluster = cluster
        self._user = user
        self._namespace = namespace

    def ask(self, body: Object) -> None:
        """Whether it might create or change `body`, by server-side apply; a Secret it has the right to create only.

        Raises:
            CommandError: it might not; the message says why.
        """
        verb = ["create"] if body["kind"] == "Secret" else ["apply", "--server-side", "--field-manager=regkeeper"]
        self.run(*verb, "--dry-run=server", "--filename=-", stdin=json.dumps(body))

    def run(self, *arguments: str, stdin: str = "") -> str:
        return self._cluster.kubectl(*arguments, "--as", self._user, stdin=stdin)

    def can(self, verb: str, resource: str, namespace: str = "") -> bool:
        """Whether it has the right, in its own namespace if in no other; `resource` as in `pods` or `pods/exec`."""
        kind, _, subresource = resource.partition("/")
        where = ["--namespace", namespace or self._namespace]
        question = ["auth", "can-i", verb, kind, f"--subresource={subresource}", *where]
        try:
            return self.run(*question).strip() == "yes"
        except CommandError:  # "no" has exit status 1
            return False


def is_refused(asker: Asker, body: Object, message: str) -> bool:
    try:
        asker.ask(body)
    except CommandError as error:
        return message in str(error)
    return False
