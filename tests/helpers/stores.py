"""Object stores on this machine: S3 by moto's server, and fsspec's in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from defectkit.object_stores import STORES

needs_s3 = pytest.mark.needs("s3fs", "moto")


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3 at the address that is yielded, empty at first, and let the environment name it."""
    import s3fs
    from moto.server import ThreadedMotoServer

    s3fs.S3FileSystem.clear_instance_cache()  # They know the endpoint of an earlier server.
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # All servers of a process have the same objects.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def memory_store() -> Iterator[Any]:
    """Let ``memory://`` be a store too, in this process alone, and yield its file system."""
    import fsspec

    store = fsspec.filesystem("memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STORES, "memory", ("fsspec", None))
        yield store
    store.store.clear()


def upload(folder: Path, url: str) -> None:
    """Copy the files of a folder to ``scheme://bucket/prefix``, whose bucket is made."""
    import fsspec

    store, path = fsspec.core.url_to_fs(url)
    store.mkdirs(path.split("/")[0], exist_ok=True)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            store.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
