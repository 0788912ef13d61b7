"""What a launcher's port tells, and to whom: these are weights."""

import http.client
import time

import pytest

from arcface_api.contract.pod_environment import LAUNCHER_PORT
from arcface_faces import checkpoint
from arcface_trainer.pod import state_server
from arcface_trainer.pod.gang_key import GangKey
from support.slow_clients import assert_slow_ones_hold_nothing

FILE = "/states/0/0/1/step-00000004/manifest.json"


def ask(pod, path, signature=None, content=None, method="GET"):
    connection = http.client.HTTPConnection(pod.launches.identity.address, LAUNCHER_PORT, timeout=30)
    headers = {} if signature is None else {state_server.SIGNATURE: signature}
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def signed(key, path, method="GET", content=b""):
    return key.sign(method.encode(), path.encode(), content)


@pytest.fixture
def pod(gang):
    """That of rank 0, with a state."""
    gang[0].keep(4)
    gang[0].peers.shelf()
    return gang[0]


def test_the_gangs_launchers_are_given_files_of_states_to_the_byte(pod):
    key = pod.launches.server.shelf.key
    names = ["manifest.json", "head-000000003.safetensors"]
    for name in names:
        path = f"/states/0/0/1/step-00000004/{name}"
        assert ask(pod, path, signed(key, path)) == (200, (pod.state(1, 4) / name).read_bytes())


def test_nobody_is_told_anything_before_there_is_a_key(gang):
    gang[0].keep(4)
    key = GangKey.of(gang[0].folder.parent / "volume", "u", 3)
    assert ask(gang[0], FILE, signed(key, FILE))[0] == 404


@pytest.mark.parametrize("path", [FILE, "/states/0/0"])
def test_strangers_and_launchers_of_other_attempts_and_jobs_are_told_nothing(pod, path, tmp_path):
    volume = tmp_path / "volume"
    others = [GangKey.of(volume, "u", 4), GangKey.of(volume, "v", 3), GangKey(b"")]
    own = pod.launches.server.shelf.key
    signatures = [
        None,
        "",
        "é",
        *(signed(key, path) for key in others),
        signed(own, FILE[:-1]),
        signed(own, path, "PUT"),
    ]
    assert {ask(pod, path, signature and signature.encode().decode("latin-1")) for signature in signatures} == {
        (404, b"")
    }


@pytest.mark.parametrize(
    "path",
    [
        "/states/0/0/1/step-00000004/../../../../run.json",
        "/states/0/0/1/..%2f..%2frun.json",
        "/states/0/0/1/step-00000004/.manifest.json",
        "/states/0/0/1/.step-00000004/manifest.json",
        "/states/0/0/-1/step-00000004/manifest.json",
        "/states/0/0/1/step-00000004/",
        "/states/0/0/1/step-00000009/manifest.json",
        "/states/0/0/1/step-00000004/graph.mindir",
        "/states/0/7/1/step-00000004/manifest.json",
        f"/states/0/0/1/step-{'9' * 18}/manifest.json",
        f"/states/0/0/1/step-00000004/{'a' * 65}.safetensors",
        "/states",
        "/",
    ],
)
def test_what_is_no_file_of_a_state_is_not_there_even_for_the_gang(pod, path):
    assert ask(pod, path, signed(pod.launches.server.shelf.key, path)) == (404, b"")


def test_another_pod_that_has_the_address_says_so(pod):
    path = "/states/2/2"
    assert ask(pod, path, signed(pod.launches.server.shelf.key, path)) == (409, b"")


def test_where_a_pod_is_is_taken_from_the_gang_alone(pod):
    key, good = pod.launches.server.shelf.key, b'{"pod":2,"address":"127.0.0.1"}'
    others = [b'{"pod":4,"address":"%b"}' % address for address in (b"..", b"fe80::1%..", b"pod-0", b"")]
    for content, status in ((good, 200), *((bad, 400) for bad in (b'{"pod":-1}', b"\xff", *others))):
        assert ask(pod, "/pods", signed(key, "/pods", "POST", content), content, "POST")[0] == status
    for content in (good, b"x" * 2000):
        assert ask(pod, "/pods", signed(key, "/pods", "POST", b"other"), content, "POST")[0] == 404
    assert [each.pod for each in pod.launches.server.shelf.addresses.values()] == [2]


def test_a_pod_that_was_cut_off_and_tells_where_it_was_is_not_asked_in_the_place_of_the_new_one(pod):
    key = pod.launches.server.shelf.key
    for address, launch, known in (
        ("127.0.0.1", 0, "127.0.0.1"),
        ("127.0.0.2", 1, "127.0.0.2"),
        ("127.0.0.1", 0, "127.0.0.2"),
    ):
        content = b'{"pod":2,"address":"%b","launch":%d}' % (address.encode(), launch)
        assert ask(pod, "/pods", signed(key, "/pods", "POST", content), content, "POST")[0] == 200
        assert pod.launches.server.shelf.addresses[2].address == known


def test_a_state_that_is_being_written_or_has_gone_is_not_told_of(pod):
    shelf = pod.launches.server.shelf
    assert {(state.rank, state.step) for state in shelf.states(0).states} == {(0, 4), (1, 4)}
    pod.state(1, 4).rename(pod.state(1, 4).with_name(".step-00000004"))
    found = shelf.states(0)
    assert {(state.rank, state.step) for state in found.states} == {(0, 4)}
    assert found.whole_steps(range(2)) == []
    assert found.of_step(4) == {0: checkpoint.manifest_sha256(pod.state(0, 4))}


def test_a_file_is_whole_although_its_rank_removes_it_meanwhile(pod, monkeypatch):
    shelf, path = pod.launches.server.shelf, pod.state(1, 4) / "head-000000003.safetensors"
    content = path.read_bytes()

    class Leaving:
        """Its file goes away as soon as it has been opened."""

        def open(self, mode):
            return path.open(mode)

        def stat(self):
            found = path.stat()
            path.unlink()
            return found

        def __truediv__(self, _name):
            return self

    monkeypatch.setattr(state_server.Shelf, "path", lambda *_: Leaving())
    asked = "/states/0/0/1/step-00000004/head-000000003.safetensors"
    assert ask(pod, asked, signed(shelf.key, asked)) == (200, content)
    assert not path.exists()


def test_a_port_that_is_in_use_is_told_of_and_ends_nothing(pod, caplog):
    began = time.monotonic()
    assert state_server.serve_states(pod.launches.identity.address) is None
    assert "no copies of states" in caplog.text
    assert time.monotonic() - began < 5


def test_a_name_server_that_is_silent_holds_nothing_up(monkeypatch):
    monkeypatch.setattr("socket.getfqdn", lambda _name="": pytest.fail("a name is looked up"))
    server = state_server.serve_states("127.0.0.1", 0)
    assert server is not None
    server.shutdown()
    server.server_close()


def test_a_client_that_sends_nothing_holds_no_thread(gang, monkeypatch):
    for pod in gang[:2]:
        assert_slow_ones_hold_nothing(monkeypatch, pod.launches.identity.address, LAUNCHER_PORT)
