"""`python -m regkeeper.nodes`: the process of the agent's pod.

Not a command of `regkeeper`, whose typer imports pydantic: on each node that would cost 11 MiB of the agent's 40.
"""

import argparse
import os
import signal

from regkeeper.nodes.agent import Agent


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m regkeeper.nodes", description="Keep what this node trusts.")
    options.add_argument("--root", default="/host", help="where the node's / is mounted (default: %(default)s)")
    options.add_argument("--list", default="/etc/regkeeper/list/list.json", help="the mounted list of registries")
    options.add_argument("--key", default="/etc/regkeeper/key/key", help="the mounted key that the operator has too")
    options.add_argument("--port", type=int, default=8082, help="of the report and of /healthz (default: %(default)s)")
    options.epilog = "Environment: REGKEEPER_NODE, name of the Node; REGKEEPER_POD_UID, uid of this pod."
    chosen = options.parse_args()
    agent = Agent(
        node=os.environ["REGKEEPER_NODE"],
        pod_uid=os.environ["REGKEEPER_POD_UID"],
        root=chosen.root,
        list_path=chosen.list,
        key_path=chosen.key,
        port=chosen.port,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()


if __name__ == "__main__":
    main()
