"""Manifests whose fields Go, and so the registry, reads otherwise than we do: what is not understood keeps more."""

import pytest

from regkeeper.retention import digests
from regkeeper.retention.digests import Digest
from regkeeper.retention.manifest import CorruptManifestError, parse_manifest
from tests.engine import documents

CONFIG, SHOWN, HIDDEN = ("sha256:" + pair * 32 for pair in ("c0", "a1", "b2"))
HEAD = f'{{"mediaType":"{documents.OCI_MANIFEST}","config":{{"digest":"{CONFIG}"}}'


def digest(text: str) -> Digest:
    parsed = digests.parse(text)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(f'"Layers":[{{"digest":"{HIDDEN}"}}]', id="upper case"),
        pytest.param(f'"layer\u017f":[{{"digest":"{HIDDEN}"}}]', id="a long s folds to s"),
        pytest.param(f'"layer\\u0073":[{{"digest":"{HIDDEN}"}}]', id="an escape"),
        pytest.param(f'"Layer\\u0073":[{{"digest":"{HIDDEN}"}}]', id="an escape and upper case"),
        pytest.param(f'"layers":[{{"digest":"{HIDDEN}"}}],"layers":[{{"digest":"{SHOWN}"}}]', id="twice"),
        pytest.param(f'"layers":[{{"digest":"{HIDDEN}"}}],"layers":null', id="twice, null"),
        pytest.param(
            f'"layers":[{{"digest":"\\u0073{SHOWN[1:]}"}}],"Layers":[{{"digest":"{HIDDEN}"}}]',
            id="the count evened out by an escape",
        ),
        pytest.param(f'"Layers":[{{"digest":"\\u0073{HIDDEN[1:]}"}}]', id="an escaped digest"),
        pytest.param(f'"layers":[{{"digest":"{SHOWN}","Digest":"{HIDDEN}"}}]', id="the digest itself twice"),
    ],
)
def test_no_spelling_hides_a_layer(rest: str) -> None:
    """encoding/json folds names of fields as Unicode has it, after their escapes; distribution reads with it."""
    manifest = parse_manifest(f"{HEAD},{rest}}}".encode())
    assert {digest(CONFIG), digest(HIDDEN)} <= set(manifest.blobs)


def test_escapes_and_foreign_words_elsewhere_do_not_matter() -> None:
    rest = f'"layers":[{{"digest":"{SHOWN}"}}],"annotations":{{"a":"\u00fc \\" \\u00e9","base":"{HIDDEN}"}}'
    assert parse_manifest(f"{HEAD},{rest}}}".encode()).blobs == (digest(CONFIG), digest(SHOWN))


def test_half_of_a_surrogate_pair_in_a_label_is_no_damage() -> None:
    """Both registries take a label that was cut in the middle of an emoji."""
    manifest = parse_manifest(f'{HEAD},"layers":[{{"digest":"{SHOWN}"}}],"annotations":{{"a":"\\ud800"}}}}'.encode())
    assert {digest(CONFIG), digest(SHOWN)} <= set(manifest.blobs)


def test_a_document_nested_too_deeply_is_corrupt_and_no_end_of_the_run() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(CorruptManifestError):
        parse_manifest(f'{HEAD},"layers":[],"x":{deep}}}'.encode())
