"""Which vote log a consensus service starts with (rule C5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from consilium.consensus.__main__ import open_log
from consilium.consensus.settings import ConsensusSettings
from consilium.kernel.errors import Conflict


def settings(folder: Path, above: int = -1) -> ConsensusSettings:
    return ConsensusSettings(votes=folder / "consensus" / "votes", begin_again_above=above)


def test_a_first_start_and_the_next(tmp_path: Path) -> None:
    for incarnation in (1, 2):
        log = open_log(settings(tmp_path))
        assert (log.incarnation, log.lost) == (incarnation, False)
        log.close()


def test_an_empty_disk_begins_above_what_others_have_seen(tmp_path: Path) -> None:
    """The whole folder is gone, and with it the mark that would tell: silent, and no first log."""
    log = open_log(settings(tmp_path, above=6))
    assert (log.incarnation, log.lost) == (7, True)
    log.close()


def test_a_lost_log_whose_mark_is_there_is_refused_until_told_to_begin_again(tmp_path: Path) -> None:
    open_log(settings(tmp_path)).close()
    (tmp_path / "consensus" / "votes").unlink()
    with pytest.raises(Conflict, match="is there already"):
        open_log(settings(tmp_path))
    log = open_log(settings(tmp_path, above=1))
    assert (log.incarnation, log.lost) == (2, True)
    log.close()


def test_a_log_that_is_there_is_opened_whatever_the_setting_says(tmp_path: Path) -> None:
    open_log(settings(tmp_path)).close()
    log = open_log(settings(tmp_path, above=6))
    assert (log.incarnation, log.lost) == (2, False)
    log.close()
