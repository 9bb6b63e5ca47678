"""Dynamic volumes: the default class `local-path` and its provisioner. It can't expand a volume, as many can't."""

import os
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.control_plane import ControlPlane
from tests.cluster.images.system import SHELL_IMAGE
from tests.cluster.programs import KUBERNETES, LOCAL_PATH_PROVISIONER

PROCESS = "local-path-provisioner"
_OBJECTS = Path(__file__).with_name("storage.yaml")


def start(control_plane: ControlPlane) -> None:
    """Create the class and start its provisioner; does not wait until it watches."""
    kubeconfig = f"--kubeconfig={control_plane.kubeconfig}"
    run(KUBERNETES.program("kubectl"), kubeconfig, "apply", f"--filename={_OBJECTS}")
    program = LOCAL_PATH_PROVISIONER.program(PROCESS)
    flags = ["--namespace=local-path-storage", f"--helper-image={SHELL_IMAGE}", "--service-account-name=default"]
    log = control_plane.logs / f"{PROCESS}.log"
    control_plane.processes.start(PROCESS, [program, "start", kubeconfig, *flags], log, os.environ)
