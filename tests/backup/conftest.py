"""What several tests of backups need."""

import pytest

from tests.backups import empty_directory


@pytest.fixture
def directory(tmp_path):
    """A backup directory that exists."""
    return empty_directory(tmp_path)
