"""Manifests whose fields Go, and so the registry, reads otherwise than we do: what is not understood keeps more."""

import pytest

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.manifest import CorruptManifestError, parse_manifest
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


@pytest.mark.parametrize("depth", [100, 990, 995, 996, 9_000, 100_000])
@pytest.mark.parametrize("escape", ["", "\\u00e9"])
def test_a_document_nested_deeply_is_no_end_of_the_run_and_pins_nothing(depth: int, escape: str) -> None:
    deep = "[" * depth + "]" * depth
    layers = f'"layers":[{{"digest":"{SHOWN}"}}]'
    assert digest(SHOWN) in parse_manifest(f'{HEAD},{layers},"x":{deep},"y":"{escape}"}}'.encode()).blobs


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(b"M\xfcller", id="Latin-1"),
        pytest.param(b"\\ud83d", id="half of a surrogate pair"),
        pytest.param(b'\\u00e9","n":' + b"1" * 5000 + b',"z":"', id="a number of 5,000 digits beside an escape"),
    ],
)
def test_what_a_registry_takes_is_no_damage(label: bytes) -> None:
    """Go's decoder is more lenient than those of Python, and the digest says that a registry took this content."""
    content = f'{HEAD},"layers":[{{"digest":"{SHOWN}"}}],"annotations":{{"a":"'.encode() + label + b'"}}'
    assert {digest(CONFIG), digest(SHOWN)} <= set(parse_manifest(content).blobs)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"text"])
def test_what_no_registry_takes_is_corrupt(content: bytes) -> None:
    with pytest.raises(CorruptManifestError):
        parse_manifest(content)
