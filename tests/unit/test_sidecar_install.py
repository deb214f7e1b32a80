"""Installing the hook into a volume, as the init container does."""

import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path

import flopguard_hook

HOOK = Path(flopguard_hook.__file__).parent


def install(*arguments: str | Path) -> None:
    """Run the init container's command under a umask that hides everything."""
    subprocess.run(
        [sys.executable, "-m", "flopguard_sidecar", "install", *arguments],
        check=True,
        capture_output=True,
        timeout=60,
        umask=0o077,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, without compiled ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_destination_becomes_the_hook_folder(tmp_path: Path) -> None:
    """`<install>` of the contract is the flopguard_hook folder itself."""
    install(tmp_path / "volume" / "hook")

    assert contents(tmp_path / "volume" / "hook") == contents(HOOK)


def test_byte_code_lies_beside_the_sources_and_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    """A trainer may not write there: it would compile the hook in every process."""
    install(tmp_path / "hook")

    for source in (tmp_path / "hook").rglob("*.py"):
        compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert compiled[:4] == importlib.util.MAGIC_NUMBER
        # PEP 552: of the flags the lowest says hash, the next says check it.
        assert int.from_bytes(compiled[4:8], "little") == 0b01


def test_every_user_may_read_it_and_only_the_owner_write_it(tmp_path: Path) -> None:
    """Trainers run as any user, with any umask in the image."""
    install(tmp_path / "hook")

    for path in (tmp_path / "hook", *(tmp_path / "hook").rglob("*")):
        expected = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_a_second_install_changes_nothing(tmp_path: Path) -> None:
    """The kubelet may run an init container twice."""
    install(tmp_path / "hook", "--pages", tmp_path / "pages")
    page = tmp_path / "pages" / "mine.page"
    page.write_bytes(b"counted")
    before = contents(tmp_path)

    install(tmp_path / "hook", "--pages", tmp_path / "pages")

    assert contents(tmp_path) == before


def test_the_folder_of_pages_is_open_to_every_user(tmp_path: Path) -> None:
    """With the sticky bit, so that no user removes the pages of another."""
    install(tmp_path / "hook", "--pages", tmp_path / "pages")

    assert stat.S_IMODE((tmp_path / "pages").stat().st_mode) == 0o1777


def test_the_installed_hook_is_found_by_a_plain_python(tmp_path: Path) -> None:
    """The two variables of the contract are all that arms it; nothing is printed."""
    install(tmp_path / "hook", "--pages", tmp_path / "pages")

    done = subprocess.run(
        [sys.executable, "-c", "import flopguard_hook; print(flopguard_hook.__file__)"],
        env=os.environ
        | {
            "PYTHONPATH": str(tmp_path / "hook" / "bootstrap"),
            "FLOPGUARD_DIR": str(tmp_path / "pages"),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.strip() == str(tmp_path / "hook" / "__init__.py")
    assert done.stderr == ""


def test_a_volume_that_cannot_be_written_is_a_message_not_a_traceback(
    tmp_path: Path,
) -> None:
    """The init container fails, and its log says why."""
    (tmp_path / "file").write_text("")

    done = subprocess.run(
        [sys.executable, "-m", "flopguard_sidecar", "install", tmp_path / "file"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert "File exists" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_init_container_imports_no_third_party_module(tmp_path: Path) -> None:
    """It runs before every pod's training: it must start at once."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "flopguard_sidecar", "install", tmp_path / "hook"],
        env={"PYTHONPATH": str(HOOK.parent)},  # -S: no site-packages
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
