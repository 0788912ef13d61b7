"""Copies of another pod's heads, over real connections: what is kept, what is refused, and what a new pod gets back."""

import itertools
import json
import shutil
import socketserver
import time
from dataclasses import replace
from threading import Thread, Timer

import pytest

from arcface_api.contract.pod_environment import LAUNCHER_PORT
from arcface_faces import checkpoint
from arcface_trainer.pod import mirror, state_client
from arcface_trainer.pod.rendezvous import MeetingPoint
from support.builders.pod_memories import head_of
from support.builders.saved_states import flip_the_last_bit, rewrite_manifest

STEPS = ["step-00000004", "step-00000008", "step-00000012"]
HEAD = "head-000000006.safetensors"
"""Of rank 2, whose pod the first one keeps."""


@pytest.fixture(autouse=True)
def no_haste(monkeypatch):
    monkeypatch.setattr(mirror, "SPREAD_SECONDS", 0.0)


@pytest.fixture
def pods(gang):
    """Both pods have a state and know each other; their copies."""
    first, second, _ = gang
    for pod in (first, second):
        pod.keep(4)
    copies = first.mirror(), second.mirror()
    for each in (*copies, copies[0]):
        each.look()
    return first, second, *copies


def soon():
    """A deadline that nothing here should come to."""
    return time.monotonic() + 30


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_heads_are_copied_to_the_bit_and_nothing_that_all_pods_have(pods):
    first, second, *_ = pods
    for rank in (2, 3):
        copied, kept = files(first.copy(2, rank, 4)), files(second.state(rank, 4))
        assert copied == {name: kept[name] for name in kept if not name.startswith(("backbone", "momentum"))}
    assert second.copies() == STEPS[:1]  # both keep each other's


def test_there_are_as_many_steps_as_the_owner_has_and_the_last_stays_until_another_is_whole(pods, monkeypatch):
    first, second, copies, _ = pods
    seen, fetch = [], state_client.Peer.fetch
    monkeypatch.setattr(state_client.Peer, "fetch", lambda *call: (seen.append(first.copies()), fetch(*call)))
    for step in (8, 12):
        for pod in (first, second):
            pod.keep(step)
        copies.look()
        copies.look()  # there is nothing new
    assert seen == [STEPS[:1], STEPS[:1], STEPS[1:2], STEPS[1:2]]
    assert first.copies() == STEPS[1:]


def test_a_state_that_the_own_ranks_do_not_have_yet_waits_for_them(pods):
    first, second, copies, _ = pods
    second.keep(8)
    copies.look()
    assert first.copies() == STEPS[:1]
    first.keep(8)
    copies.look()
    assert first.copies() == STEPS[:2]


def test_a_state_of_another_course_of_the_training_is_not_kept(pods):
    first, second, copies, _ = pods
    first.keep(8)
    second.keep(8, course=2.0)
    copies.look()
    assert first.copies() == STEPS[:1]


def test_a_state_made_again_takes_the_place_of_the_one_before(pods):
    first, second, copies, _ = pods
    for pod in (first, second):
        shutil.rmtree(pod.folder / f"rank-{pod.rank}")
        shutil.rmtree(pod.folder / f"rank-{pod.rank + 1}")
        pod.keep(4, course=2.0)
    copies.look()
    assert files(first.copy(2, 2, 4))[HEAD] == files(second.state(2, 4))[HEAD]


def longer(path):
    path.write_bytes(path.read_bytes() + b"x")


def shorter(path):
    path.write_bytes(path.read_bytes()[:-1])


def another_manifest(path):
    path.with_name("manifest.json").write_text("{}")


def another_name(path):
    text = path.with_name("manifest.json").read_text()
    path.with_name("manifest.json").write_text(text.replace("head-000000006", "head-000000005"))


@pytest.mark.parametrize("damage", [flip_the_last_bit, shorter, another_manifest, another_name])
def test_a_file_that_is_not_what_was_announced_costs_that_copy_alone(pods, damage):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    damage(second.state(2, 8) / HEAD)
    copies.look()
    assert first.copies() == STEPS[:1]
    for pod in (first, second):
        pod.keep(12)
    copies.look()
    assert first.copies() == [STEPS[2]]


def test_no_more_bytes_are_taken_than_were_announced(pods):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    announced = files(second.state(2, 8))[HEAD]
    longer(second.state(2, 8) / HEAD)
    copies.look()
    assert files(first.copy(2, 2, 8))[HEAD] == announced


def test_what_changes_while_it_is_copied_is_not_kept(pods, monkeypatch):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    fetch = state_client.Peer.fetch

    def fetch_and_change(peer, path, *rest):
        fetch(peer, path, *rest)
        rewrite_manifest(second.state(3, 8), lambda document: document.update(epoch=9))

    monkeypatch.setattr(state_client.Peer, "fetch", fetch_and_change)
    copies.look()
    assert first.copies() == STEPS[:1]


@pytest.mark.parametrize(("budget", "kept"), [(0, []), (1, STEPS[:1])])
def test_copies_stay_within_their_budget(gang, budget, kept, caplog):
    first, _, another = gang
    small = another(2, 6, mirror=budget)
    for pod in (first, small):
        pod.keep(4)
    first.peers.addresses(first.peers.shelf())
    copies = small.mirror()
    for _ in range(2):
        copies.look()
    assert small.copies() == kept
    assert caplog.text.count("are not copied") == (not kept)


def test_a_quarter_of_the_free_memory_is_the_most_where_no_budget_is_named(pods, monkeypatch):
    first, second, copies, _ = pods
    heads = sum(
        (second.state(rank, 4) / name).stat().st_size for rank, name in ((2, HEAD), (3, "head-000000008.safetensors"))
    )
    for pod in (first, second):
        pod.keep(8)
    monkeypatch.setattr(mirror, "AGAIN_SECONDS", 0.0)
    for free, kept in ((4 * 2 * heads - heads - 8000, STEPS[:1]), (4 * 2 * heads, STEPS[:2])):
        monkeypatch.setattr(mirror, "free_bytes", lambda _, free=free: free)
        copies.look()
        assert first.copies() == kept


def test_a_pod_that_ends_copies_no_more(pods, monkeypatch):
    first, second, copies, _ = pods
    monkeypatch.setattr(mirror, "SPREAD_SECONDS", 600.0)
    for pod in (first, second):
        pod.keep(8)
    looking = Thread(target=copies.look)
    looking.start()
    first.ended.set()
    looking.join(30)
    assert not looking.is_alive()
    assert first.copies() == STEPS[:1]


def test_a_copy_comes_in_slowly(pods, monkeypatch):
    first, second, copies, _ = pods
    monkeypatch.setattr(mirror, "SPREAD_SECONDS", 0.3)
    for pod in (first, second):
        pod.keep(8)
    began = time.monotonic()
    copies.look()
    assert time.monotonic() - began >= 0.3


def answering(address, answer):
    """A stranger at the address of a pod that is gone."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            answer(self.wfile)

    server = socketserver.ThreadingTCPServer((address, LAUNCHER_PORT), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def drip(stream):
    stream.write(b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        stream.write(b"x")
        stream.flush()
        time.sleep(0.02)


def flood(stream):
    stream.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        stream.write(b"x" * 65536)


ANSWERS = {
    "unsigned": lambda stream: stream.write(b'HTTP/1.0 200 OK\r\n\r\n{"states":[]}'),
    "no HTTP": lambda stream: stream.write(b"\x00" * 100),
    "nothing": lambda stream: stream.flush(),
    "drip": drip,
    "flood": flood,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_stranger_at_the_address_of_a_lost_pod_costs_nothing_but_the_copy(pods, answer, monkeypatch, gang):
    first, second, copies, _ = pods
    monkeypatch.setattr(mirror, "LOOK_SECONDS", 0.3)
    places = second.launches.identity.address.rpartition(".")[0]
    with answering(f"{places}.99", answer) as stranger:
        copies._address = f"{places}.99"
        for pod in (first, second):
            pod.keep(8)
        copies.look()
        stranger.shutdown()
    assert first.copies() == STEPS[:1]
    monkeypatch.undo()
    copies.look()  # where it is is asked again
    assert first.copies() == STEPS[:2]


def test_the_launcher_of_another_attempt_is_not_answered(pods, gang):
    later = gang[2](2, 4, attempt=4)
    later.keep(4)
    copies = later.mirror()
    copies.look()
    assert later.copies() == []


def test_a_pod_in_the_place_of_a_lost_one_gets_its_states_back_to_the_bit(pods, gang):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    copies.look()
    replaced = gang[2](2, 3, launch=1)
    for each in mirror.fetch_states(replaced.peers, soon()):
        each.publish()
    for step in (4, 8):
        for rank in (2, 3):
            assert files(replaced.state(rank, step)) == files(second.state(rank, step))
            manifest = checkpoint.read_manifest(replaced.state(rank, step))
            classes = checkpoint.class_range(manifest.class_count, 4, rank)
            found = checkpoint.read_head(replaced.state(rank, step), manifest, classes)
            assert (found["centers"] == head_of(rank, step)["centers"]).all()
    first.launches.identity = replace(first.launches.identity, launch=1)  # and the training goes on
    first.keep(12)
    replaced.keep(12)
    copies.look()
    assert first.copies() == STEPS[1:]


def test_a_new_pod_0_is_told_where_its_keeper_is_by_that_one_and_waits_for_it_until_its_deadline(pods, gang):
    first, second, _, copies = pods
    for pod in (first, second):
        pod.keep(8)
    copies.look()
    replaced = gang[2](0, 3, launch=1)

    def meet():
        second.launches.identity = replace(second.launches.identity, launch=1)
        second.launches.meeting = MeetingPoint(replaced.launches.identity.address)
        copies.look()

    meanwhile = Timer(0.5, meet)
    meanwhile.start()
    for each in mirror.fetch_states(replaced.peers, soon()):
        each.publish()
    meanwhile.join()
    assert files(replaced.state(1, 8)) == files(first.state(1, 8))


@pytest.mark.parametrize("gone", [(4,), (4, 8)], ids=["one", "all"])
def test_copies_beside_which_the_own_ranks_have_no_state_any_more_are_removed(pods, gone):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    copies.look()
    for rank, step in itertools.product((0, 1), gone):  # ranks that go on from elsewhere, or have no room for states
        shutil.rmtree(first.state(rank, step))
    copies.look()
    assert first.copies() == [name for name in STEPS[:2] if int(name[5:]) not in gone]


def test_a_state_that_could_not_be_copied_is_left_for_a_minute_and_nothing_of_it_stays(pods, monkeypatch):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    damaged = second.state(3, 8) / "head-000000008.safetensors"
    flip_the_last_bit(damaged)
    asked, ask = [], state_client.Peer.fetch
    monkeypatch.setattr(state_client.Peer, "fetch", lambda *call: (asked.append(call[1].rank), ask(*call)))
    for _ in range(3):
        copies.look()
    assert asked == [2, 3]
    assert [path.name for path in (first.folder / "copies-of-2").iterdir()] == STEPS[:1]
    flip_the_last_bit(damaged)
    copies._tried_at -= mirror.AGAIN_SECONDS
    copies.look()
    assert first.copies() == STEPS[:2]


def test_a_state_of_a_course_that_was_left_is_not_brought_back(pods, gang):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    copies.look()
    for rank in (0, 1):  # its ranks went back to step 4, and have come to another state after step 8
        shutil.rmtree(first.state(rank, 8))
    first.keep(8, course=2.0)
    replaced = gang[2](2, 3, launch=1)
    found = mirror.fetch_states(replaced.peers, soon())
    assert {each.final.name for each in found} == {STEPS[0]}


@pytest.mark.parametrize("damage", [flip_the_last_bit, shorter])
def test_a_damaged_copy_is_not_brought_back_and_an_older_one_is(pods, gang, damage):
    first, second, copies, _ = pods
    for pod in (first, second):
        pod.keep(8)
    copies.look()
    damage(first.copy(2, 2, 8) / HEAD)
    replaced = gang[2](2, 3, launch=1)
    assert {each.final.name for each in mirror.fetch_states(replaced.peers, soon())} == {STEPS[0]}


def test_a_new_pod_without_a_keeper_or_without_room_gets_nothing(pods, gang, monkeypatch):
    replaced = gang[2](2, 3, launch=1)
    monkeypatch.setattr(mirror, "free_bytes", lambda _: 100)
    assert mirror.fetch_states(replaced.peers, soon()) == []
    alone = gang[2](0, 5, job_uid="v", launch=1)
    with pytest.raises(state_client.FAULTS, match="has not said where it is"):
        mirror.fetch_states(alone.peers, time.monotonic())


def test_the_manifest_of_a_copy_is_the_one_that_the_rank_wrote(pods):
    first, *_ = pods
    names = {entry["name"] for entry in json.loads((first.copy(2, 2, 4) / "manifest.json").read_text())["files"]}
    assert names == {HEAD, "backbone.safetensors", "momentum.safetensors"}
