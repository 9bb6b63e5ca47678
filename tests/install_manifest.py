"""deploy/install.yaml: the chart with its default values, for those who install without helm."""

from tests.helm import NAMESPACE, render_text

HEADER = f"""\
# Written by `make generate` from charts/regkeeper: change it there. How to install and to remove: docs/install.md.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def install_manifest() -> str:
    """The file's text: the namespace, then what helm would install, without hooks and tests."""
    lines = render_text(None, "--no-hooks").splitlines()
    # Where each object comes from is told by its kind and name; helm's blank lines by nothing.
    kept = [line.rstrip() for line in lines if line.strip() and not line.startswith("# ")]
    return HEADER + "\n".join(kept) + "\n"
