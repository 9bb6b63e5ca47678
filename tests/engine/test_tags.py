"""Which tags go and which stay: rules, deletions by name, protections, several policies."""

import os
from pathlib import Path

import pytest

from tests.engine.planning import delete, retain, used
from tests.engine.volumes import DAY, HOUR, Volume

KEEP_ONE = {"rules": [{"name": "all", "keep": {"last": 1}}]}
KEEP_NONE = {"rules": [{"name": "all", "keep": {"last": 0}}]}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_the_last_tags_stay_and_the_plan_says_why(volume: Volume) -> None:
    app = volume.repository("team/app")
    for number in range(4):
        app.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=(40 - number) * DAY)
    planned = retain(volume, {"rules": [{"name": "releases", "keep": {"last": 2}}]})
    assert planned.deleted_tags() == {"team/app:v0", "team/app:v1"}
    assert planned.tag("team/app", "v3") == "kept: among the last 2 (policy-0/releases)"
    assert planned.tag("team/app", "v0") == "deleted: covered by rule policy-0/releases, which does not keep it"


def test_last_counts_digests_not_tags(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("a", layers=[b"1"], age=5 * DAY)
    app.push_image("b", layers=[b"2"], age=4 * DAY)
    newest = app.push_image("c", layers=[b"3"], age=3 * DAY)
    app.tag("c-alias", newest.digest, age=20 * DAY)
    assert retain(volume, {"rules": [{"keep": {"last": 2}}]}).deleted_tags() == {"app:a"}


def test_equal_times_at_the_edge_all_stay(volume: Volume) -> None:
    app = volume.repository("app")
    for name in ("a", "b", "c"):
        app.push_image(name, layers=[name.encode()], age=3 * DAY)
    app.push_image("d", layers=[b"d"], age=4 * DAY)
    assert retain(volume, KEEP_ONE).deleted_tags() == {"app:d"}


@pytest.mark.parametrize("delete_", [["app:v1"], ["app"], ["app:v1", "app"]])
def test_an_exact_name_takes_what_was_pushed_in_the_future_too(volume: Volume, delete_: list[str]) -> None:
    """Found by the oracle: it was taken for younger than an age that nobody had given."""
    app = volume.repository("app")
    app.push_image("v1", age=-5 * HOUR)
    app.push_image(layers=[b"untagged"], age=-5 * HOUR)
    assert retain(volume, {"delete": delete_}).deleted_tags() == {"app:v1"}
    assert delete(volume, *delete_).deleted_tags() == {"app:v1"}
    assert len(delete(volume, *delete_).deleted_manifests()) == (2 if "app" in delete_ else 1)
    assert delete(volume, "app:*").deleted_tags() == set()


def test_a_time_that_no_64_bits_of_nanoseconds_hold_stays_as_any_of_the_future(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"], age=9 * DAY)
    app.push_image("v2", layers=[b"2"], age=8 * DAY)
    app.push_image("far", layers=[b"3"], age=8 * DAY)
    os.utime(app.tag_link("far"), (10_413_792_000, 10_413_792_000))  # in 2300
    planned = retain(volume, KEEP_ONE)
    assert planned.deleted_tags() == {"app:v1"}
    assert planned.tag("app", "far") == "kept: pushed in the future"


def test_a_nanosecond_tells_which_was_pushed_last(volume: Volume) -> None:
    app = volume.repository("app")
    for nanoseconds, tag in enumerate(("new", "old")):
        app.push_image(tag, layers=[tag.encode()], age=30 * DAY)
        os.utime(app.tag_link(tag), ns=(volume.now, volume.moment(30 * DAY) - nanoseconds))
    assert retain(volume, {"rules": [{"keep": {"last": 1}}]}).deleted_tags() == {"app:old"}


def test_times_that_can_not_be_right_stay_and_use_up_no_place(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("future", layers=[b"1"], age=-DAY)
    app.push_image("epoch", layers=[b"2"], age=volume.now / 10**9)
    app.push_image("new", layers=[b"3"], age=2 * DAY)
    app.push_image("old", layers=[b"4"], age=3 * DAY)
    planned = retain(volume, KEEP_ONE)
    assert planned.deleted_tags() == {"app:old"}
    assert planned.tag("app", "future") == "kept: pushed in the future"
    assert planned.tag("app", "epoch") == "kept: its push time can't be right"
    assert delete(volume, "app:epoch").deleted_tags() == {"app:epoch"}


def test_pushed_within_includes_its_boundary(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("inside", layers=[b"1"], age=30 * DAY)
    app.push_image("outside", layers=[b"2"], age=30 * DAY + 0.001)
    assert retain(volume, {"rules": [{"keep": {"pushedWithin": "30d"}}]}).deleted_tags() == {"app:outside"}


def test_highest_versions_stay_by_version_and_not_by_time(volume: Volume) -> None:
    app = volume.repository("app")
    for age, tag in enumerate(("v2.0", "1.9.1", "1.10", "v3.0-rc.1", "nightly", "1.10.0"), 2):
        app.push_image(tag, layers=[tag.encode()], age=age * DAY)
    planned = retain(volume, {"rules": [{"keep": {"semver": {"highest": 2}}}]})
    assert planned.deleted_tags() == {"app:1.9.1", "app:v3.0-rc.1", "app:nightly"}


def test_a_rule_covers_only_what_it_selects(volume: Volume) -> None:
    for name in ("team/app", "team/deep/app", "other"):
        volume.repository(name).push_image("v1", "latest")
    rule = {"repositories": ["team/*"], "tags": ["v*"], "keep": {"last": 0}}
    planned = retain(volume, {"rules": [rule]})
    assert planned.deleted_tags() == {"team/app:v1"}
    assert planned.tag("other", "v1") == "kept: no rule covers it"


def test_the_keeps_of_several_rules_unite(volume: Volume) -> None:
    app = volume.repository("app")
    for age, tag in enumerate(("a", "b", "stable-1"), 2):
        app.push_image(tag, layers=[tag.encode()], age=age * DAY)
    rules = [{"keep": {"last": 1}}, {"keep": {"matching": ["stable-*"]}}]
    assert retain(volume, {"rules": rules}).deleted_tags() == {"app:b"}


def test_what_another_policy_keeps_stays(volume: Volume) -> None:
    app = volume.repository("app")
    for age, tag in enumerate(("a", "b", "c"), 2):
        app.push_image(tag, layers=[tag.encode()], age=age * DAY)
    keeps_b = {"rules": [{"tags": ["b"], "keep": {"last": 1}}]}
    assert retain(volume, KEEP_ONE, keeps_b).deleted_tags() == {"app:c"}
    assert retain(volume, keeps_b, KEEP_ONE).deleted_tags() == {"app:c"}
    assert retain(volume, KEEP_ONE, also_keep=[keeps_b]).deleted_tags() == {"app:c"}
    assert retain(volume, keeps_b, also_keep=[KEEP_NONE]).deleted_tags() == set()


def test_keep_wins_over_delete_and_the_plan_says_so(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    spec = {"rules": [{"tags": ["v*"], "keep": {"last": 1}}], "delete": ["app:v1"]}
    planned = retain(volume, spec)
    assert planned.deleted_tags() == set()
    reason = "among the last 1 (policy-0/1)"
    assert planned.tag("app", "v1") == f"kept: asked for by delete: app:v1, but kept: {reason}"
    assert [tuple(refused) for refused in planned.plan.kept] == [("app:v1", "app", "v1", reason)]


def test_what_was_just_pushed_stays_save_by_an_exact_name(volume: Volume) -> None:
    volume.repository("old/app").push_image("v1", age=HOUR - 1)
    volume.repository("old/aged").push_image("v1", age=HOUR)
    everything = {**KEEP_NONE, "delete": ["old/**"]}
    assert retain(volume, everything).deleted_tags() == {"old/aged:v1"}
    assert retain(volume, {"delete": ["old/app:v1"]}).deleted_tags() == {"old/app:v1"}


@pytest.mark.parametrize("pushed", ["image", "platform"])
def test_what_was_just_pushed_by_digest_stays_though_its_old_tag_goes(volume: Volume, pushed: str) -> None:
    """ "CI pushes before it deploys", and what it builds anew may be what it built a month ago."""
    app = volume.repository("app")
    platform = app.push_image(layers=[b"1"], age=30 * DAY)
    index = app.push_index("v1", children=[platform], age=30 * DAY)
    again = index if pushed == "image" else app.push_image(layers=[b"1"], age=600)
    assert again.digest in (index.digest, platform.digest)
    if pushed == "image":
        app.push_index(children=[platform], age=600)
    planned = retain(volume, {"rules": [{"keep": {"last": 0}}]})
    assert planned.deleted_tags() == {"app:v1"}
    assert ("app", again.digest) not in planned.deleted_manifests()
    assert planned.manifest("app", again.digest) == "kept: pushed a short while ago"
    assert ("app", index.digest) in planned.deleted_manifests() or pushed == "image"
    assert ("app", platform.digest) not in planned.deleted_manifests()
    assert {("app", again.digest)} <= delete(volume, "app:v1").deleted_manifests()


def test_a_pattern_with_a_digest_is_no_exact_name(volume: Volume) -> None:
    """What was just pushed went, what an undo brought back, and a signature whose image stays."""
    app = volume.repository("team/app")
    image = app.push_image("v1", layers=[b"image"])
    young, back = app.push_image(layers=[b"young"], age=600).digest, app.push_image(layers=[b"back"]).digest
    about = app.push_image(layers=[b"about"], subject=image).digest
    old = app.push_image(layers=[b"old"]).digest
    digests = [young, back, about, old]
    restored = {("team/app", "", back): "run"}
    by_pattern = retain(volume, {"delete": [f"team/*@{digest}" for digest in digests]}, restored=restored)
    assert by_pattern.deleted_manifests() == {("team/app", old)}
    assert {(refused.name, refused.reason) for refused in by_pattern.plan.kept} >= {
        (young, "pushed a short while ago"),
        (back, "restored from run run"),
    }
    by_name = retain(volume, {"delete": [f"team/app@{digest}" for digest in digests]}, restored=restored)
    assert by_name.deleted_manifests() == {("team/app", digest) for digest in digests}


def test_a_deletion_that_names_nothing_is_told(volume: Volume) -> None:
    volume.repository("app").push_image("v1")
    assert retain(volume, {"delete": ["app:v2", "app:v1"]}).plan.unmatched == ["app:v2"]


def test_a_rule_whose_patterns_match_nothing_is_told(volume: Volume) -> None:
    rules = [
        {"name": "all", "keep": {"last": 9}},
        {"name": "mistyped", "repositories": ["ap"], "keep": {"last": 1}},
        {"name": "versions", "tags": ["v*"], "keep": {"last": 1}},
    ]
    assert retain(volume, {"rules": rules}).plan.warnings == [], "an empty registry is no mistake of the rules"
    volume.repository("app").push_image("1.0")
    assert retain(volume, {"rules": rules}).plan.warnings == [
        "rule policy-0/mistyped covers no tag: check its patterns",
        "rule policy-0/versions covers no tag: check its patterns",
    ]
    kept = retain(volume, {"rules": rules[:1]}, also_keep=[{"rules": rules[:2]}])
    assert kept.plan.warnings == ["rule policy-0/mistyped covers no tag: check its patterns"], "it keeps nothing"


def test_a_tag_goes_only_while_it_points_to_the_named_digest(volume: Volume) -> None:
    app = volume.repository("app")
    old = app.push_image("v1", layers=[b"1"])
    new = app.push_image("v1", layers=[b"2"])
    assert delete(volume, f"app:v1@{old.digest}").plan.unmatched == [f"app:v1@{old.digest}"]
    assert delete(volume, f"app:v1@{new.digest}").deleted_tags() == {"app:v1"}


@pytest.mark.parametrize("host", ["", "k8smaster:5000/", "registry.example/"])
def test_images_in_use_stay_whatever_the_address(volume: Volume, host: str) -> None:
    app = volume.repository("boke/wordpress")
    app.push_image("v1", layers=[b"1"])
    app.push_image("v2", layers=[b"2"])
    planned = retain(volume, KEEP_NONE, in_use=used(f"{host}boke/wordpress:v1"))
    assert planned.deleted_tags() == {"boke/wordpress:v2"}
    assert planned.tag("boke/wordpress", "v1") == "kept: in use by Deployment shop/web"


def test_an_image_in_use_without_a_tag_is_the_latest(volume: Volume) -> None:
    app = volume.repository("library/nginx")
    app.push_image("latest", layers=[b"1"])
    app.push_image("v2", layers=[b"2"])
    assert retain(volume, KEEP_NONE, in_use=used("nginx")).deleted_tags() == {"library/nginx:v2"}


def test_a_child_in_use_keeps_its_index_and_an_index_its_child(volume: Volume) -> None:
    app = volume.repository("app")
    child = app.push_image("v1-amd64", layers=[b"1"], platform="linux/amd64")
    sibling = app.push_image("v1-arm64", layers=[b"2"], platform="linux/arm64")
    index = app.push_index("v1", children=[child, sibling])
    app.push_image("v2", layers=[b"3"])
    by_child = retain(volume, KEEP_NONE, in_use=used(f"app@{child.digest}"))
    assert by_child.deleted_tags() == {"app:v1-arm64", "app:v2"}
    assert (("app", sibling.digest)) not in by_child.deleted_manifests()
    by_index = retain(volume, KEEP_NONE, in_use=used(f"app@{index.digest}"))
    assert by_index.deleted_tags() == {"app:v2"}


def test_a_bare_config_digest_keeps_its_image_in_every_repository(volume: Volume) -> None:
    for name in ("a", "b"):
        volume.repository(name).push_image("v1", layers=[b"1"])
        volume.repository(name).push_image("v2", layers=[b"2"])
    image = volume.repository("a").push_image("v1", layers=[b"1"])
    config = _config_of(volume, image.digest)
    planned = retain(volume, KEEP_NONE, in_use=used(f"docker://{config}"))
    assert planned.deleted_tags() == {"a:v2", "b:v2"}


def test_what_was_restored_stays_until_it_is_named(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    restored = {("app", "v1", image.digest): "20261124T103145Z"}
    assert retain(volume, KEEP_NONE, restored=restored).tag("app", "v1") == "kept: restored from run 20261124T103145Z"
    assert retain(volume, {"delete": ["app:v1"]}, restored=restored).deleted_tags() == {"app:v1"}


def test_an_approval_allows_its_victims_and_no_others(volume: Volume) -> None:
    app = volume.repository("app")
    for tag in ("v1", "v2"):
        app.push_image(tag, layers=[tag.encode()])
    approved = frozenset(
        victim for victim in retain(volume, KEEP_NONE).plan.victims() if victim[1] == "v1" or not victim[1]
    )
    planned = retain(volume, KEEP_NONE, approved=approved)
    assert planned.deleted_tags() == {"app:v1"}
    assert planned.tag("app", "v2") == "kept: not among what was approved"


def test_pushes_after_the_plans_now_neither_go_nor_count(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("old", layers=[b"1"], age=10 * DAY)
    app.push_image("new", layers=[b"2"], age=9 * DAY)
    before = retain(volume, KEEP_ONE).plan.hash
    app.push_image("later", layers=[b"3"], age=-1)
    again = retain(volume, KEEP_ONE)
    assert again.plan.hash == before
    assert again.deleted_tags() == {"app:old"}


def test_the_hash_is_of_victims_and_rules(volume: Volume) -> None:
    app = volume.repository("app")
    for age, tag in enumerate(("a", "b"), 2):
        app.push_image(tag, layers=[tag.encode()], age=age * DAY)
    plain = retain(volume, KEEP_ONE).plan.hash
    assert plain != retain(volume, KEEP_NONE).plan.hash
    assert plain == retain(volume, KEEP_ONE, in_use=used("app:a")).plan.hash
    app.push_image("c", layers=[b"c"], age=20 * DAY)
    assert plain != retain(volume, KEEP_ONE).plan.hash


def _config_of(volume: Volume, digest: str) -> str:
    import json

    config = json.loads(volume.blob_data(digest).read_bytes())["config"]["digest"]
    assert isinstance(config, str)
    return config


def test_keep_wins_over_an_exact_name_for_odd_tags_too(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    app.push_image("v2", layers=[b"2"], age=volume.now / 10**9)
    volume.truncate(app.tag_link("v1"))
    spec = {"rules": [{"keep": {"matching": ["v*"]}}], "delete": ["app:v1", "app:v2"]}
    assert retain(volume, spec).deleted_tags() == set()


def test_a_pattern_spares_a_first_push_under_way(volume: Volume) -> None:
    volume.repository("team").mount(volume.put_blob(b"1"), age=600)
    assert not retain(volume, {"delete": ["t*"]}).plan.moves
    assert retain(volume, {"delete": ["team"]}).plan.moves
