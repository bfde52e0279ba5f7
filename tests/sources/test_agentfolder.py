"""Finding the folder of an app's agent, and whom it is not believed."""

import os
from pathlib import Path

import pytest

from floodmark.agent import ledger
from floodmark.agent.slab import Identity, Slab
from floodmark.gunicorn import settings
from floodmark.gunicorn.find import Master, describe
from floodmark.sources import agentfolder
from floodmark.sources.procfs import process
from tests.support.proc_tree import GUNICORN, add

PID, TICKS, IN_NAMESPACE = 100, 1000, 7


class Host:
    """A host with a gunicorn that has a root of its own, as in a container."""

    def __init__(self, folder: Path, *environ: str) -> None:
        self.root, self.proc, self.inside = folder / "host", folder / "host/proc", folder / "container"
        self.proc.mkdir(parents=True)
        (self.root / "dev/shm").mkdir(parents=True)
        (self.inside / "dev/shm").mkdir(parents=True)
        add(self.proc, PID, GUNICORN, environ=environ)
        (self.proc / f"{PID}/root").symlink_to(self.inside)
        identity = process.Identity(PID, TICKS)
        told = describe(self.proc, identity, {}).agent_dir
        self.master = Master(identity, "shop", settings.UNKNOWN, "27.0.1", IN_NAMESPACE, told)

    def find(self) -> str | None:
        return agentfolder.find(self.root, self.proc, self.master)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def made(base: Path, name: str = "shop", master: tuple[int, int] | None = None) -> tuple[str, Slab | None]:
    """Make a folder as the agent does, with a live worker's slab if it is to name a master."""
    folder = ledger.folder_of(str(base), name)
    return folder, Slab(folder, Identity(11, 1100), Identity(*master)) if master else None


def test_a_folder_is_found_by_the_apps_name_in_the_masters_own_root(host: Host) -> None:
    assert host.find() is None
    made(host.root / "dev/shm")  # another one's of the same name, outside the container
    folder, _ = made(host.inside / "dev/shm")
    found = host.find()
    assert found
    assert Path(found).samefile(folder)


def test_where_both_are_one_the_path_outlives_the_master(host: Host) -> None:
    (host.proc / f"{PID}/root").unlink()
    (host.proc / f"{PID}/root").symlink_to(host.root)
    folder, _ = made(host.root / "dev/shm")
    assert host.find() == folder


def test_a_slab_that_names_the_master_outweighs_a_name(host: Host) -> None:
    made(host.inside / "dev/shm", "shop")
    by_slab, slab = made(host.inside / "dev/shm", "set in a module", master=(IN_NAMESPACE, TICKS))
    found = host.find()
    assert found
    assert slab
    assert Path(found).samefile(by_slab)


def test_a_folder_of_that_name_that_is_another_masters_is_not_taken(host: Host) -> None:
    _, slab = made(host.inside / "dev/shm", "shop", master=(IN_NAMESPACE, TICKS + 1))
    assert host.find() is None
    assert slab


def test_the_apps_environment_says_where_to_look(tmp_path: Path) -> None:
    host = Host(tmp_path, "FLOODMARK_AGENT_DIR=/run/shop")
    made(host.inside / "dev/shm")
    (host.inside / "run/shop").mkdir(parents=True)
    folder, _ = made(host.inside / "run/shop")
    found = host.find()
    assert found
    assert Path(found).samefile(folder)


def test_a_link_or_a_file_in_the_place_of_a_folder_is_not_followed(host: Host, tmp_path: Path) -> None:
    folder, _ = made(tmp_path)
    own = host.inside / f"dev/shm/floodmark-{os.geteuid()}"
    own.symlink_to(Path(folder).parent)
    assert host.find() is None
    own.unlink()
    own.mkdir()
    (own / "shop").symlink_to(folder)
    assert host.find() is None
    (own / "shop").unlink()
    (own / "shop").write_text("")
    assert host.find() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("owner", [1, 1001])
def test_a_folder_that_another_user_made_is_not_believed(host: Host, owner: int) -> None:
    folder, _ = made(host.inside / "dev/shm")
    os.chown(Path(folder).parent, owner, owner)
    assert host.find() is None
    # nor one that calls itself by its real owner, whose the master isn't
    Path(folder).parent.rename(host.inside / f"dev/shm/floodmark-{owner}")
    assert host.find() is None
