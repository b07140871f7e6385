"""An explorer of an atlas that is known by heart, asked in this process."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from synthetic import Synthetic

from atlas.explorer.server import application


@pytest.fixture(scope="module")
def browser(synthetic: Synthetic) -> Iterator[TestClient]:
    """What asks the explorer of the synthetic atlas, as a browser on this machine does."""
    with TestClient(
        application(synthetic.atlas), base_url="http://localhost", raise_server_exceptions=False
    ) as client:
        yield client
