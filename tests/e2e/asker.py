"""The API server, asked as one of its users: what it would refuse, and which rights it gives."""

from regkeeper.naming import FIELD_MANAGER
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.helm import Object


class Asker:
    """Asks the API server as one of its users."""

    def __init__(self, cluster: Cluster, user: str, namespace: str) -> None:
        self._cluster = cluster
        self.api = cluster.api().impersonating(user)
        self._user = user
        self._namespace = namespace

    def ask(self, body: Object) -> None:
        """Whether it might create or change `body`, by server-side apply; a Secret it has the right to create only.

        Raises:
            ApiError: it might not; the message says why.
        """
        if body["kind"] == "Secret":
            self.api.create(body, dry_run=True)
        else:
            self.api.apply(body, manager=FIELD_MANAGER, dry_run=True)

    def run(self, *arguments: str, stdin: str = "") -> str:
        return self._cluster.kubectl(*arguments, "--as", self._user, stdin=stdin)

    def can(self, verb: str, resource: str, namespace: str = "") -> bool:
        """Whether it has the right, in its own namespace if in no other; `resource` as in `pods/exec` or `jobs.batch`.

        As `kubectl auth can-i` asks it.
        """
        kind, _, subresource = resource.partition("/")
        name, _, group = kind.partition(".")
        asked = {"verb": verb, "resource": name, "group": group, "subresource": subresource}
        spec = {"resourceAttributes": {**asked, "namespace": namespace or self._namespace}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        return bool(
            self.api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)["status"]["allowed"]
        )


def is_refused(asker: Asker, body: Object, message: str) -> bool:
    try:
        asker.ask(body)
    except ApiError as error:
        return message in str(error)
    return False
