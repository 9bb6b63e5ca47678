"""The list and the report: what both sides agree on, and what neither believes."""

import json
import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.nodes import desired, report
from regkeeper.nodes.desired import TrustList, canonical, checksum, decode, encode
from regkeeper.nodes.hosts import InvalidHostError, check_host
from regkeeper.nodes.reasons import NodeProblemError, Problem, Reason
from regkeeper.nodes.report import Report, ReportRefusedError, StaleReportError

KEY = secrets.token_bytes(32)
NONCE = "ab" * 16
LIST = TrustList(generation=3, cluster="c", sets=(("k8smaster:5000",), ()), nodes={"one": 0, "two": 1})


@pytest.mark.parametrize(
    "host",
    ["k8smaster:5000", "registry.example:443", "10.0.0.1:5000", "[fd00::1]:5000", "localhost:1", "a-b.c-d:65535"],
)
def test_hosts_that_may_be_trusted(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize(
    "host",
    [
        *("", ":", "k8smaster", "k8smaster:", "k8smaster:0", "k8smaster:65536", "k8smaster:99999", "k8smaster:050"),
        *(
            "http://k8smaster:5000",
            "k8smaster:5000/path",
            "*.example:5000",
            "10.0.0.0/8",
            "10.0.0.0/8:5000",
            "_default",
        ),
        *("fd00::1:5000", "[fd00::1]", "[fd00:0::1]:5000", "[FD00::1]:5000", "[fe80::1%eth0]:5000", "10.0.0.256:5000"),
        *("10.0.0.01:5000", "10.1:5000", "0.0.0.0:5000", "[::]:5000", "224.0.0.1:5000", "K8sMaster:5000", "a b:5000"),
        *(
            "-a:5000",
            "a-:5000",
            "a..b:5000",
            ".a:5000",
            "a.:5000",
            "../../etc:5000",
            "a\n:5000",
            "a:5000\n",
            "a\0:5000",
        ),
        *("docker.io:443", "registry-1.docker.io:443", "quay.io:443", "x" * 64 + ":5000", "ü:5000", "a:\uff15000"),
    ],
)
def test_hosts_that_may_not(host: str) -> None:
    with pytest.raises(InvalidHostError):
        check_host(host)


@given(st.text(max_size=40))
def test_no_host_leads_out_of_a_directory(text: str) -> None:
    try:
        host = check_host(text)
    except InvalidHostError:
        return
    assert "/" not in host
    assert "\0" not in host
    assert not host.startswith(".")


def test_a_list_comes_back_as_it_was() -> None:
    assert decode(encode(LIST)) == LIST
    assert LIST.hosts_of("one") == ("k8smaster:5000",)
    assert LIST.hosts_of("two") == ()


def reason_of(data: bytes) -> Reason:
    with pytest.raises(NodeProblemError) as caught:
        decode(data)
    return caught.value.problem.reason


def test_an_absent_list_is_no_order() -> None:
    assert reason_of(b"") is Reason.LIST_MISSING


def test_every_truncation_is_refused() -> None:
    whole = encode(LIST)
    for length in range(1, len(whole)):
        assert reason_of(whole[:length]) is Reason.LIST_INVALID


@pytest.mark.parametrize("data", [b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b" " * (desired.MAXIMUM_BYTES + 1)])
def test_anything_else_is_refused(data: bytes) -> None:
    assert reason_of(data) is Reason.LIST_INVALID


def test_a_changed_list_is_refused() -> None:
    assert reason_of(encode(LIST).replace(b"k8smaster", b"k8sattack")) is Reason.LIST_INVALID


def test_a_newer_version_is_named() -> None:
    document = json.loads(encode(LIST)) | {"version": 2}
    with pytest.raises(NodeProblemError, match=r"version 2.*upgrade"):
        decode(canonical(document))


@pytest.mark.parametrize(
    "change",
    [
        {"sets": [["http://x:1"]]},
        {"sets": [["docker.io:443"]]},
        {"generation": 0},
        {"generation": "3"},
        {"more": 1},
        {"nodes": {"one": -1}},
        {"sets": [["a:1"] * 1025]},
    ],
    ids=str,
)
def test_a_well_signed_list_with_bad_content_is_refused(change: dict[str, object]) -> None:
    body = json.loads(encode(LIST))["list"] | change
    assert reason_of(canonical({"version": 1, "checksum": checksum(body), "list": body})) is Reason.LIST_INVALID


def test_a_node_without_a_set() -> None:
    with pytest.raises(NodeProblemError) as caught:
        LIST.hosts_of("three")
    assert caught.value.problem.reason is Reason.NODE_NOT_LISTED
    with pytest.raises(NodeProblemError):
        msgspec.structs.replace(LIST, nodes={"one": 9}).hosts_of("one")


def test_five_thousand_nodes_fit_into_a_config_map() -> None:
    nodes = {f"ip-10-{index // 250}-{index % 250}-17.eu-central-1.compute.internal": index % 3 for index in range(5000)}
    sets = tuple(tuple(f"registry-{number}.example:5000" for number in range(8 * size)) for size in range(3))
    assert len(encode(TrustList(generation=1, cluster="c" * 36, sets=sets, nodes=nodes))) < 300 << 10


def answer(**fields: object) -> tuple[bytes, dict[str, str]]:
    return report.encode_answer(
        KEY, msgspec.structs.replace(Report(node="one", pod_uid="uid", generation=3), **fields), nonce=NONCE
    )


def read(body: bytes, headers: dict[str, str], nonce: str = NONCE, key: bytes = KEY) -> Report:
    return report.decode_answer(key, body, headers, nonce=nonce, node="one", pod_uid="uid", generation=3)


def test_a_genuine_question_and_answer() -> None:
    headers = report.question_headers(KEY, nonce=NONCE, pod_uid="uid")
    assert report.question_is_genuine(KEY, headers, pod_uid="uid")
    assert read(*answer()).node == "one"


def test_a_strangers_question() -> None:
    headers = report.question_headers(secrets.token_bytes(32), nonce=NONCE, pod_uid="uid")
    assert not report.question_is_genuine(KEY, headers, pod_uid="uid")
    assert not report.question_is_genuine(KEY, {}, pod_uid="uid")
    genuine = report.question_headers(KEY, nonce=NONCE, pod_uid="uid")
    assert not report.question_is_genuine(KEY, genuine, pod_uid="another")
    for nonce in ("", "ab", "AB" * 16, "ab" * 33, "ab" * 15 + "\nx"):
        signed = report.question_headers(KEY, nonce=nonce, pod_uid="uid")
        assert not report.question_is_genuine(KEY, signed, pod_uid="uid")


def test_a_question_is_no_answer() -> None:
    headers = report.question_headers(KEY, nonce=NONCE, pod_uid="uid")
    with pytest.raises(ReportRefusedError, match="signature"):
        read(b"uid", headers)


def test_a_forged_answer() -> None:
    body, headers = answer()
    for forged in (body + b" ", body.replace(b"one", b"two"), b"", b"{}"):
        with pytest.raises(ReportRefusedError, match="signature"):
            read(forged, headers)
    with pytest.raises(ReportRefusedError, match="signature"):
        read(body, {})
    with pytest.raises(ReportRefusedError, match="signature"):
        read(body, headers, key=secrets.token_bytes(32))


def test_a_replayed_answer() -> None:
    with pytest.raises(ReportRefusedError, match="signature"):
        read(*answer(), nonce="cd" * 16)


@pytest.mark.parametrize(
    ("fields", "match"), [({"node": "two"}, "node"), ({"pod_uid": "other"}, "pod uid"), ({"version": 2}, "version")]
)
def test_another_agents_answer(fields: dict[str, object], match: str) -> None:
    with pytest.raises(ReportRefusedError, match=match):
        read(*answer(**fields))


def test_an_answer_about_another_generation_says_why() -> None:
    problem = report.reported(Problem(Reason.LIST_INVALID))
    with pytest.raises(StaleReportError) as caught:
        read(*answer(generation=2, list_problem=problem, mounted=3))
    assert (caught.value.generation, caught.value.problem, caught.value.mounted) == (2, problem, 3)


def test_an_answer_of_an_agent_that_may_not_act_says_why() -> None:
    problem = report.reported(Problem(Reason.RECORD_NEWER, {"path": "/record"}))
    with pytest.raises(StaleReportError) as caught:
        read(*answer(generation=0, problems=(problem,)))
    assert caught.value.problem == problem


def test_the_largest_report_is_within_its_bound() -> None:
    fact = "x" * report.MAXIMUM_FACT
    problem = report.reported(Problem(Reason.FILE_ERROR, {"path": fact, "detail": fact, "host": fact}))
    name = ".".join(["x" * 63] * 4)[:253]
    hosts = [
        report.HostReport(
            host=f"{name}:65535",
            state=report.HostState.CONFIGURED,
            ours=False,
            problem=problem if number < report.MAXIMUM_EXPLAINED else None,
        )
        for number in range(desired.MAXIMUM_HOSTS)
    ]
    runtime = report.RuntimeReport(runtime="containerd", hosts=tuple(hosts), problems=(problem,) * 16, reverted=False)
    body, headers = answer(runtimes=(runtime,) * 4)
    assert len(body) <= report.MAXIMUM_BYTES
    assert len(read(body, headers).runtimes) == 4


def test_a_report_is_bounded() -> None:
    with pytest.raises(ReportRefusedError, match="large"):
        read(b" " * (report.MAXIMUM_BYTES + 1), {})
    assert len(report.reported(Problem(Reason.FILE_ERROR, {"path": "x" * 5000})).facts["path"]) == 200


def test_a_newer_agents_reason_is_shown_as_it_is() -> None:
    assert report.ReportedProblem(reason="Unheard").words() == "Unheard"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert Problem(reason).words()


def test_of_a_read_only_node_the_way_that_works_is_named() -> None:
    """As on Talos and Bottlerocket."""
    assert "localhost:PORT" in Problem(Reason.FILE_READ_ONLY).words()
