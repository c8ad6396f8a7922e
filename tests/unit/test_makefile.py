"""``make install`` says in one line what it was given that is wrong, before it does anything."""

import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def install(folder: Path, **settings: str) -> tuple[int, str]:
    given = {"PREFIX": f"{folder}/program", "AGI_BIN": str(folder), "ASTERISK_ETC": str(folder)}
    words = [f"{name}={value}" for name, value in (given | settings).items()]
    done = subprocess.run(
        ["make", "--no-print-directory", "install", *words],
        cwd=TOP, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert not (folder / "program").exists()
    return done.returncode, done.stdout


@pytest.mark.parametrize("wrong", ["postgres", "postgresql,mysql", "postgresql mysql"])
def test_a_word_that_is_no_extra_is_refused(tmp_path: Path, wrong: str) -> None:
    word = wrong.replace(",", " ").split()[-1]
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    extras = " ".join(setup["options.extras_require"])
    says = f"WITH={word} is no extra, allowed: {extras}\n"
    assert install(tmp_path, WITH=wrong) == (2, says)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    says = f"AGI_BIN={tmp_path}/none is no folder: give Asterisk's agi-bin\n"
    assert install(tmp_path, WITH="postgresql", AGI_BIN=f"{tmp_path}/none") == (2, says)


def test_dist_builds_what_the_tests_of_the_wheel_look_at() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "dist", "DIST=/x"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '-m build --outdir "/x" .' in done.stdout
