"""Globs, regular expressions, references, versions and lists of images in use: pure parts of the engine."""

import time

import pytest

from regkeeper.retention.policies.in_use import InvalidInUseError, parse_in_use
from regkeeper.retention.policies.patterns import PatternError, matcher
from regkeeper.retention.policies.references import InvalidReferenceError, parse_reference
from regkeeper.retention.policies.versions import ConstraintError, constraint, version_of
from regkeeper.retention.volume import digests

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("team/*", ["team/app"], ["team", "team/a/b", "xteam/app"]),
        ("team/**", ["team/app", "team/a/b"], ["team", "team/"]),
        ("**/app", ["team/app", "a/b/app"], ["app", "team/apps"]),
        ("{boke,team}/*", ["boke/x", "team/x"], ["other/x"]),
        ("v[0-9].?", ["v1.2"], ["v1.22", "va.2"]),
        ("v[!0-9]", ["va"], ["v1", "v/"]),
        ("1.2[!-_]*", ["1.20", "1.2a1"], ["1.2-rc", "1.2_1", "1.2/x"]),
        ("a.b+c", ["a.b+c"], ["axb+c", "a.bbc"]),
        ("stable-*", ["stable-1", "stable-"], ["stable", "unstable-1"]),
        ("/v[0-9]+/", ["v1", "v22"], ["v", "v1-rc"]),
        ("/a|b/", ["a", "b"], ["ab", "ac"]),
    ],
)
def test_patterns_match_in_full(pattern: str, matching: list[str], other: list[str]) -> None:
    matches = matcher([pattern])
    assert [name for name in (*matching, *other) if matches(name)] == matching


@pytest.mark.parametrize("pattern", ["[a", "{a", "/(/", "/(?=a)/", "/[[:x:]]/", "a[.-0]b", "team[+-z]app", "a[/]b"])
def test_a_pattern_that_can_not_be_understood_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        matcher([pattern])


@pytest.mark.parametrize("pattern", ["/(a+)+b/", "*a" * 60 + "b", "/(a|aa)+$/"])
def test_no_pattern_takes_long(pattern: str) -> None:
    matches = matcher([pattern])
    started = time.process_time()
    matches("a" * 255 + "c")
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "repository", "tag", "exact"),
    [
        ("boke/wordpress:latest", "boke/wordpress", "latest", True),
        (f"app:v1@{DIGEST}", "app", "v1", True),
        (f"app@{DIGEST}", "app", None, True),
        ("old/**", "old/**", None, False),
        ("app:v*", "app", "v*", False),
        ("docker.io/library/nginx:1", "docker.io/library/nginx", "1", True),
        ("a__b/c-d.e:V_1", "a__b/c-d.e", "V_1", True),
    ],
)
def test_references(text: str, repository: str, tag: str | None, exact: bool) -> None:
    reference = parse_reference(text)
    assert (reference.repository, reference.tag, reference.exact) == (repository, tag, exact)
    assert reference.digest == (digests.parse(DIGEST) if "@" in text else None)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "app:", "..", "a/..", "../blobs", "a:..", "/app", "/app/", "App:v1", "app:v 1", "a//b", "app/"),
        *("app\n", "app:\x1b[2J", "app@sha256:12", f"app@{DIGEST}0", "a:b:c", "app:v/1", "-app", "app:[", "_a", "."),
        *("k8smaster:5000/app:v1", "localhost/app:v1", "Registry.example/app"),
        "a" * 256,
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_reference(text)


def test_an_address_in_front_is_dropped_where_that_is_allowed() -> None:
    reference = parse_reference("k8smaster:5000/app:v1", strip_address=lambda address: address == "k8smaster:5000")
    assert (reference.repository, reference.tag) == ("app", "v1")


@pytest.mark.parametrize(
    ("tag", "version"),
    [("v1", "1.0.0"), ("1.2", "1.2.0"), ("1.2.3-rc.1", "1.2.3-rc.1"), ("v1.2.3+build", "1.2.3"), ("01.2", None)],
)
def test_versions(tag: str, version: str | None) -> None:
    found = version_of(tag)
    assert (None if found is None else str(found)) == version


@pytest.mark.parametrize(
    ("text", "version", "counts"),
    [
        (">=1.0", "1.0", True),
        (">= 1.0, < 2", "1.9.9", True),
        ("<2", "2.0.0-rc.1", False),
        (">=2.0.0-rc.0", "2.0.0-rc.1", True),
        (">=2.0.0-rc.0", "2.1.0-rc.1", False),
        ("~1.4 || ^2", "2.7", True),
        ("1.2.3 || 2.0", "2.0.0", True),
        ("1.0 - 2.0", "1.5", True),
        (None, "1.0.0-rc.1", False),
        (None, "0.0.1", True),
    ],
)
def test_constraints(text: str | None, version: str, counts: bool) -> None:
    assert constraint(text)(version_of(version)) is counts


@pytest.mark.parametrize("text", ["x y", ">>1", "1.2.3.4", "latest", "1.2.3, 2.0.0", "v1 =2 || 3"])
def test_a_constraint_that_can_not_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ConstraintError):
        constraint(text)


def test_images_in_use_are_read_whatever_their_form() -> None:
    in_use = parse_in_use(
        f"\ufeffk8smaster:5000/boke/wordpress:4.9 Deployment shop/web\r\nnginx Pod a/b\n{DIGEST} Pod c/d\n"
        f"docker-pullable://app@{DIGEST} Pod e/f\n# 4\n".encode()
    )
    digest = digests.parse(DIGEST)
    assert in_use.tags == {
        ("boke/wordpress", "4.9"): "Deployment shop/web",
        ("nginx", "latest"): "Pod a/b",
        ("library/nginx", "latest"): "Pod a/b",
    }
    assert in_use.anywhere == {digest: "Pod c/d"}
    assert in_use.manifests == {("app", digest): "Pod e/f", ("library/app", digest): "Pod e/f"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"app:v1 Pod a/b\n",
        b"app:v1 Pod a/b\n# 2\n",
        b"\xff\n# 1\n",
        b"\n# 1\n",
        b"app@sha256:1 Pod\n# 1\n",
        b"a\x00 b\n# 1",
        b"k8smaster:5000/app: Pod a/b\n# 1\n",
        b"k8smaster:5000//app:v1 Pod a/b\n# 1\n",
        b"sha256:" + b"AB" * 32 + b" Pod a/b\n# 1\n",
        b'"k8smaster:5000/app:v1"\n# 1\n',
        b"app:v1,other:v1\n# 1\n",
        b"app:v1; Pod a/b\n# 1\n",
        b"# images in use\n# 1\n",
        b"app:v1 Pod a/b\n# nothing else\n# 2\n",
    ],
)
def test_a_list_that_may_not_be_whole_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInUseError):
        parse_in_use(content)


def test_a_host_in_upper_case_is_a_host() -> None:
    in_use = parse_in_use(b"K8SMASTER/app:v1 Pod a/b\nLOCALHOST:5000/x/app:v2 Pod a/b\n# 2\n")
    assert {("app", "v1"), ("x/app", "v2")} <= in_use.tags.keys()


def test_an_image_id_without_its_algorithm_is_one() -> None:
    assert parse_in_use(b"ab" * 32 + b" Pod a/b\n# 1\n").anywhere == {digests.parse(DIGEST): "Pod a/b"}


def test_a_name_that_no_registry_made_matches_nothing() -> None:
    assert not matcher(["a*"])("a\udcff")


@pytest.mark.parametrize(
    ("narrowed", "counting", "other"),
    [
        (
            "registry.example",
            ["registry.example", "REGISTRY.example:443", "registry.example:80"],
            "registry.example:5000",
        ),
        ("Registry.example:443", ["registry.example", "registry.Example:443"], "registry.example:5000"),
        ("*:443", ["k8smaster.lan", "k8smaster:443"], "k8smaster:5000"),
        ("k8smaster:5000", ["K8SMASTER:5000"], "k8smaster.lan"),
        ("[fd00::5]", ["[FD00::5]", "[fd00::5]:443"], "[fd00::5]:5000"),
    ],
)
def test_a_host_is_the_same_however_it_is_written(narrowed: str, counting: list[str], other: str) -> None:
    for number, host in enumerate([*counting, other]):
        in_use = parse_in_use(f"{host}/team/app:v{number} Pod a/b\n# 1\n".encode(), frozenset({narrowed}))
        assert bool(in_use.tags) == (host != other), host


def test_nothing_in_use_is_said_by_a_count_of_none() -> None:
    assert parse_in_use(b"# 0\n").tags == {}


@pytest.mark.parametrize(
    "text",
    ["sha256:" + "A" * 64, "sha256:" + " a" * 32, "sha256:" + "a" * 63, "sha512:" + "a" * 64, "md5:" + "a" * 32, ""],
)
def test_what_is_no_digest(text: str) -> None:
    assert digests.parse(text) is None


@pytest.mark.parametrize("text", [DIGEST, "sha512:" + "0f" * 64])
def test_digests_go_there_and_back(text: str) -> None:
    digest = digests.parse(text)
    assert digest is not None
    assert digests.to_text(digest) == text
