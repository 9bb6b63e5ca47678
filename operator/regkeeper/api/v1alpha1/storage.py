"""`spec.storage`: where a Registry keeps its images. What can't change stands at `RegistrySpec`, in `registry.py`."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from regkeeper.api.v1alpha1.base import Spec
from regkeeper.api.v1alpha1.fragments import ObjectName, Quantity
from regkeeper.api.v1alpha1.schema import MERGED_AS_SET, Rule, refused_unless

AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]

KINDS_OF_STORAGE = ("size", "existingClaim", "local", "ephemeral")


def _is_positive_quantity(field: str) -> str:
    """CEL: `field` is absent, or a quantity above 0."""
    return f"!has(self.{field}) || (isQuantity(self.{field}) && quantity(self.{field}).isGreaterThan(quantity('0')))"


class LocalStorage(Spec):
    """A directory on one node."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(
                # Control characters would not survive the mount table; Kubernetes refuses `..` in a volume's path.
                r"self.path.matches('^(/[^/\\x00-\\x1f]+)+$') && "
                "!self.path.split('/').exists(part, part in ['.', '..'])",
                "path: write an absolute path without `.`, `..`, `//` and a slash at its end",
            )
        )
    )

    node: ObjectName = Field(description="Name of the node that has the directory.")
    path: str = Field(
        description="Absolute path of the directory that is mounted as /var/lib/registry. "
        "The chart's value `localStorage` must allow it.",
        min_length=2,
        max_length=1024,
    )


class EphemeralStorage(Spec):
    """Storage that ends with the pod, for trials."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(_is_positive_quantity("sizeLimit"), "sizeLimit: write a quantity above 0, as in 10Gi")
        )
    )

    size_limit: Quantity | None = Field(None, description="Upper bound, as in 10Gi; the pod is evicted beyond it.")


class Storage(Spec):
    """Where the images are kept. Exactly one of size, existingClaim, local and ephemeral."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(
                f"[{', '.join(f'has(self.{kind})' for kind in KINDS_OF_STORAGE)}].filter(given, given).size() == 1",
                "set exactly one of size, existingClaim, local and ephemeral",
            ),
            Rule(_is_positive_quantity("size"), "size: write a quantity above 0, as in 50Gi"),
            Rule(
                "has(self.size) || !has(self.storageClassName)",
                "storageClassName: only a claim of ours has a class: set size too, or remove it",
            ),
            Rule(
                "has(self.size) || !has(self.accessModes)",
                "accessModes: only a claim of ours takes them from here: set size too, or remove them",
            ),
            Rule(
                "!has(self.accessModes) || !('ReadWriteOncePod' in self.accessModes) || self.accessModes.size() == 1",
                "accessModes: ReadWriteOncePod allows no other mode beside it: remove one",
            ),
            Rule(
                "!has(self.local) || self.deletionPolicy != 'Delete'",
                "deletionPolicy: a directory of a node is never deleted: set Retain, and remove the directory by hand",
            ),
            Rule(
                "!has(self.existingClaim) || self.deletionPolicy != 'Delete'",
                "deletionPolicy: an existing claim is never deleted: set Retain, and delete the claim by hand",
            ),
        )
    )

    size: Quantity | None = Field(None, description="Size of the claim to make, as in 50Gi. May grow, never shrink.")
    storage_class_name: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] | None = (
        Field(None, description="Class of the claim; default: the cluster's. Empty: a volume that has no class.")
    )
    access_modes: list[AccessMode] | None = Field(
        None,
        description="Access modes of the claim; default: ReadWriteOnce.",
        min_length=1,
        max_length=3,
        json_schema_extra=MERGED_AS_SET,
    )
    existing_claim: ObjectName | None = Field(
        None, description="Name of a PersistentVolumeClaim in this namespace. It is used and never changed."
    )
    local: LocalStorage | None = Field(
        None,
        description="A directory on one node: takes over a registry that was made by hand with "
        "`-v <path>:/var/lib/registry`. Its directory is never deleted.",
    )
    ephemeral: EphemeralStorage | None = Field(None, description="An emptyDir: images end with the pod.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain",
        description="What becomes of the claim when the Registry is deleted. Retain keeps it, and a Registry of "
        "the same name adopts it again.",
    )

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> Self:
        """Builders rely on it; an object may be older than the rule that refuses it."""
        kinds = (self.size, self.existing_claim, self.local, self.ephemeral)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("set exactly one of size, existingClaim, local and ephemeral")
        return self
