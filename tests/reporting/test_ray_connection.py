"""The connection to Ray: what is wrong with it is said at once; signals are heard as before."""

import signal
import socket
import sys

import pytest
from ray_cluster import needs_ray

from defectkit.errors import ConfigError, MissingPackageError
from defectkit.reporting import ray_connection
from defectkit.reporting.ray_connection import _answering, connected_to_ray


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingPackageError, match=r"--engine ray needs ray.* 'defectkit\[ray\]'"),
        connected_to_ray(None),
    ):
        pass


@pytest.fixture
def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def ended_cluster(tmp_path, monkeypatch, closed_port):
    """The address of a cluster of this machine that was killed: Ray's own file still names it."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{closed_port}")
    return f"127.0.0.1:{closed_port}"


def test_a_cluster_that_has_ended_is_not_asked_for_minutes(ended_cluster, monkeypatch):
    assert _answering(None) == _answering("local") == "local"
    with pytest.raises(ConfigError, match=f"no Ray cluster answers at '{ended_cluster}'"):
        _answering("auto")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        _answering(None)
    monkeypatch.setenv("RAY_ADDRESS", ended_cluster)
    for address in (None, "auto"):
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at '{ended_cluster}'"):
            _answering(address)


def test_a_cluster_that_answers_is_taken(ended_cluster, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert _answering(None) is None
        assert (_answering("auto"), _answering(address)) == ("auto", address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert _answering(None) == address
    (tmp_path / "ray" / "ray_current_cluster").unlink()
    monkeypatch.delenv("RAY_ADDRESS")
    assert _answering(None) is None


@needs_ray
@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_that_does_not_answer_is_told_at_once(form, closed_port):
    address = form.format(closed_port)
    with (
        pytest.raises(ConfigError, match="no Ray cluster answers at .* refused.* Give --address"),
        connected_to_ray(address),
    ):
        pass


@needs_ray
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("head", "it has no host or no port"),
        ("http://head:1", "http:// is no form of an address"),
        ("head:port", "Port could not be cast"),
        (":6379", "it has no host or no port"),
    ],
)
def test_other_texts_are_no_addresses(address, reason):
    with pytest.raises(ConfigError, match=reason), connected_to_ray(address):
        pass


@needs_ray
def test_auto_without_a_cluster_is_told(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    import ray

    def refuse(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore")

    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(ConfigError, match=r"to Ray at 'auto': Could not find .* instance\. Give"),
        connected_to_ray("auto"),
    ):
        pass


@needs_ray
def test_signals_are_heard_as_before_and_the_connection_of_a_program_stays(monkeypatch):
    import ray

    def begin(**_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def end() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(ray, "init", begin)
    monkeypatch.setattr(ray, "shutdown", end)
    with connected_to_ray(None) as found:
        assert found is ray
        assert [signal.getsignal(number) for number in numbers] == before
    assert [signal.getsignal(number) for number in numbers] == before
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", lambda: pytest.fail("it is the program's"))
    with connected_to_ray(None) as found:
        assert found is ray
    with pytest.raises(ConfigError, match="connected to Ray already"), connected_to_ray("auto"):
        pass


def test_the_port_of_a_client_has_a_default(monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "create_connection", lambda *words: asked.append(words[0]) or Open)
    ray_connection._check_answer("ray://head")
    ray_connection._check_answer("[::1]:6379")
    assert asked == [("head", 10001), ("::1", 6379)]


class Open:
    close = staticmethod(lambda: None)
