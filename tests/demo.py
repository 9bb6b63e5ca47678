"""`make demo`: the main job, for real, as a person would type it, on two nodes of this machine.

It leaves the cluster running to look around; a second run starts from what is there. With REGKEEPER_KUBECONFIG it
installs into that cluster instead, says first what it needs of it, and stops at a registry that is Ready: to push from
a node's Docker needs the embedded one.
"""

import json
import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from tests import docker
from tests.cluster import Cluster, Extent
from tests.cluster.programs import HELM, KUBERNETES
from tests.registry_content import takes_pushes
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent
NAMESPACE = "regkeeper-system"
REGISTRY = "k8smaster:5000"
IMAGES = ("boke/wordpress:latest", "web/tomcat:v1", "db/mysql:5.7")
REGKEEPER = f"{Path(sys.executable).parent}/regkeeper"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_SWITCH = 60  # seconds; takes 10
console = Console(highlight=False)

NEEDS_OF_A_GIVEN_CLUSTER = """\
REGKEEPER_KUBECONFIG is set: this installs into that cluster. It needs there
  - an administrator's rights,
  - the operator's image as regkeeper:dev on every node (docker build --tag regkeeper:dev . and then, by the kind of
    cluster, kind load docker-image regkeeper:dev, minikube image load regkeeper:dev, k3s ctr images import),
  - a default storage class, for the registry's claim of 10Gi, and nodes that can pull the registry's image.
It leaves behind the release regkeeper in regkeeper-system and the Registry images in default, with its claim."""


class Demo:
    """A shell session, shown as it goes."""

    def __init__(self, kubeconfig: Path) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._programs = {"kubectl": KUBERNETES.program("kubectl"), "helm": HELM.program("helm")}

    def say(self, text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)

    def run(self, line: str) -> None:
        """Show a command and what it prints. An exit status other than 0 ends the demo."""
        console.print(f"[cyan]$ {line}[/cyan]", soft_wrap=True)
        name, *arguments = shlex.split(line)
        subprocess.run([str(self._programs.get(name, name)), *arguments], cwd=ROOT, env=self._environment, check=True)

    def ask(self, line: str) -> str:
        """What a command prints, not shown. An exit status other than 0 ends the demo."""
        name, *arguments = shlex.split(line)
        command = [str(self._programs.get(name, name)), *arguments]
        return subprocess.run(command, env=self._environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def run_on(self, cluster: Cluster, node: str, line: str, shown_lines: int = 4) -> None:
        """The same on a node; only the last lines of a long output are shown."""
        console.print(f"[cyan]root@{node}:~# {line}[/cyan]")
        for shown in cluster.node_exec(node, shlex.split(line)).stdout.splitlines()[-shown_lines:]:
            print(shown, flush=True)


def install(demo: Demo) -> None:
    demo.say("1. The operator")
    options = f"-n {NAMESPACE} --create-namespace -f deploy/demo-values.yaml --wait --timeout=120s --hide-notes"
    demo.run(f"helm upgrade --install regkeeper charts/regkeeper {options}")


def apply(demo: Demo, sample: str, name: str, condition: str = "Ready") -> None:
    demo.say("2. A registry")
    demo.run(f"kubectl apply -f deploy/samples/{sample}")
    demo.run(f"kubectl wait --for=condition={condition} registry/{name} --timeout=60s")
    demo.run("kubectl get registries,deployments,services,persistentvolumeclaims")


def push_and_pull(demo: Demo, cluster: Cluster) -> None:
    demo.say("3. Images, pushed from one node, pulled on the other")
    for image in IMAGES:
        docker.load(cluster, "k8sworker1", f"{REGISTRY}/{image}")
        demo.run_on(cluster, "k8sworker1", f"docker push {REGISTRY}/{image}", shown_lines=1)
    demo.run_on(cluster, "k8smaster", f"docker pull {REGISTRY}/{IMAGES[0]}", shown_lines=2)


def list_images(demo: Demo, cluster: Cluster) -> None:
    demo.say("4. What is in it")
    demo.run(f"{REGKEEPER} list http://{cluster.node_ip('k8smaster')}:5000")
    demo.run(f"kubectl wait --for=jsonpath='{{.status.tags}}'={len(IMAGES)} registry/main --timeout=60s")
    demo.run("kubectl get registries")


def delete_and_undo(demo: Demo, cluster: Cluster) -> None:
    demo.say("5. An image goes, and comes back")
    name = "delete-wordpress"
    url = f"http://{cluster.node_ip('k8smaster')}:5000"
    demo.run("kubectl apply -f deploy/samples/retention-delete.yaml")
    demo.run(f"kubectl wait --for=jsonpath='{{.status.lastRun.outcome}}'=Done imageretention/{name} --timeout=120s")
    demo.run(f"kubectl logs --selector=regkeeper.dev/retention={name} --container=plan --tail=-1")
    demo.run("kubectl get imageretentions")
    await_pushes(url)
    demo.run(f"{REGKEEPER} list {url}")
    demo.run(f"{REGKEEPER} undo {name}")
    demo.run(f"kubectl wait --for=jsonpath='{{.status.undone.outcome}}'=Done imageretention/{name} --timeout=120s")
    await_pushes(url)
    demo.run(f"{REGKEEPER} list {url}")


def await_pushes(url: str) -> None:
    """Wait for the end of a run's switch, in which the registry's only pod is replaced."""
    console.print("(the registry takes pushes again in a moment)")
    wait_for(partial(takes_pushes, url), _SWITCH, "the registry to take pushes")


def on_a_given_cluster(demo: Demo) -> None:
    """As far as any cluster goes.

    Raises:
        SystemExit: it lacks something; the message says what.
    """
    demo.say(NEEDS_OF_A_GIVEN_CLUSTER)
    classes = json.loads(demo.ask("kubectl get storageclasses --output=json"))["items"]
    if not any((each["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true" for each in classes):
        sys.exit(f"The cluster has no default storage class: annotate one with {DEFAULT_CLASS}=true")
    try:
        install(demo)
        apply(demo, "registry-claim.yaml", "images")
    except subprocess.CalledProcessError:
        demo.say("It did not come about. What there is:")
        demo.run(f"kubectl get pods --namespace {NAMESPACE}")
        demo.run("kubectl get pods,registries,persistentvolumeclaims --namespace default")
        sys.exit(1)
    demo.say("Pushing from a node's Docker needs the embedded cluster: unset REGKEEPER_KUBECONFIG. To undo this:")
    print("  kubectl delete --filename=deploy/samples/registry-claim.yaml && kubectl delete pvc images-storage")
    print(f"  helm uninstall regkeeper --namespace {NAMESPACE}")


def main() -> None:
    if given := os.environ.get("REGKEEPER_KUBECONFIG"):
        on_a_given_cluster(Demo(Path(given)))
        return
    cluster = Cluster("demo")
    cluster.up(Extent.NODES)
    demo = Demo(cluster.kubeconfig)
    install(demo)
    demo.run_on(cluster, "k8smaster", "mkdir -p /docker/var/lib/registry")
    apply(demo, "registry.yaml", "main", condition="NodesTrusted")
    push_and_pull(demo, cluster)
    list_images(demo, cluster)
    delete_and_undo(demo, cluster)
    demo.say("The cluster is still up. Look around:")
    print(f"  export KUBECONFIG={cluster.kubeconfig}")
    print("  .venv/bin/python -m tests.cluster exec --name demo k8sworker1 -- docker images")
    print("  make cluster-down    # removes every trace")


if __name__ == "__main__":
    main()
