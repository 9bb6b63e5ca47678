"""Random specs of Registries that are valid."""

import string
from typing import Any

from hypothesis import strategies as st

WORD = st.text(string.ascii_lowercase, min_size=1, max_size=12)
LABEL_KEYS = st.one_of(WORD, st.builds("{}.example/{}".format, WORD, WORD))
LABELS = st.dictionaries(LABEL_KEYS, WORD | st.just(""), max_size=3)
# kubectl hands its body to server-side apply as YAML, which has no control characters and no byte order marks.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufeff\ufffe\uffff"), max_size=20
)
QUANTITY = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["", "k", "M", "Gi", "Ti"]))
PATH = st.lists(WORD, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
RESOURCES = st.fixed_dictionaries(
    {}, optional={"requests": st.just({"cpu": "10m", "memory": "16Mi"}), "limits": st.just({"memory": "1Gi"})}
)
TOLERATIONS = st.sampled_from(
    [{"operator": "Exists"}, {"key": "a.example/b", "operator": "Equal", "value": "c", "effect": "NoSchedule"}]
)
SPREAD = st.fixed_dictionaries(
    {
        "maxSkew": st.integers(1, 5),
        "topologyKey": st.sampled_from(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]),
        "whenUnsatisfiable": st.just("ScheduleAnyway"),
        "labelSelector": st.builds(lambda labels: {"matchLabels": labels}, LABELS),
    }
)
# Options that distribution has, with contents that only YAML could get wrong.
CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "log": st.fixed_dictionaries({"level": st.just("debug"), "fields": st.dictionaries(WORD, TEXT, max_size=3)}),
        "http": st.just({"relativeurls": True, "draintimeout": "1m"}),
        "storage": st.just({"redirect": {"disable": True}}),
        "validation": st.just({"manifests": {"urls": {"allow": [".*"]}}}),
    },
)
ENVIRONMENT = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(string.ascii_uppercase + "_", min_size=1, max_size=12).map("MINE_{}".format)},
        optional={"value": TEXT},
    ),
    max_size=3,
    unique_by=lambda variable: variable["name"],
)

SINGLE = st.one_of(
    st.fixed_dictionaries(
        {"size": QUANTITY},
        optional={
            "storageClassName": WORD | st.just(""),
            "accessModes": st.sampled_from([["ReadWriteOnce"], ["ReadWriteOncePod"]]),
            "deletionPolicy": st.sampled_from(["Retain", "Delete"]),
        },
    ),
    st.fixed_dictionaries({"existingClaim": WORD}),
    st.fixed_dictionaries({"local": st.fixed_dictionaries({"node": WORD, "path": PATH})}),
    st.fixed_dictionaries({"ephemeral": st.fixed_dictionaries({}, optional={"sizeLimit": QUANTITY})}),
)
SHARED = st.fixed_dictionaries({"size": QUANTITY, "accessModes": st.just(["ReadWriteMany", "ReadWriteOnce"])})
ACCESS = st.fixed_dictionaries(
    {},
    optional={
        "hostPort": st.fixed_dictionaries({}, optional={"port": st.integers(1, 29999)}),
        # From the part of the range that the cluster does not choose from by itself.
        "nodePort": st.fixed_dictionaries({}, optional={"port": st.integers(30001, 30080), "nodes": st.just(["a"])}),
    },
)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "access": ACCESS,
    "image": st.sampled_from(["registry:2", "docker.io/library/registry:3.1.1", "a.example:5000/b@sha256:" + "0" * 64]),
    "imagePullPolicy": st.sampled_from(["Always", "IfNotPresent", "Never"]),
    "imagePullSecrets": WORD.map(lambda name: [{"name": name}]),
    "readOnly": st.booleans(),
    "resources": RESOURCES,
    "nodeSelector": LABELS,
    "tolerations": st.lists(TOLERATIONS, max_size=2),
    "affinity": st.just({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}),
    "priorityClassName": st.just("system-cluster-critical"),
    "topologySpreadConstraints": st.lists(SPREAD, max_size=2, unique_by=lambda each: each["topologyKey"]),
    "podLabels": LABELS,
    "podAnnotations": st.dictionaries(LABEL_KEYS, TEXT, max_size=3),
    "extraEnv": ENVIRONMENT,
    "config": CONFIG,
}
SPECS = st.one_of(
    st.fixed_dictionaries({"storage": SINGLE}, optional={**OPTIONS, "replicas": st.integers(0, 1)}),
    st.fixed_dictionaries({"storage": SHARED}, optional={**OPTIONS, "replicas": st.integers(0, 9)}),
)
