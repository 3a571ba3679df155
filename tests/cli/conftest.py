import pytest
from support.tiny import export_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, request):
    return export_tiny(request.config.rootpath, tmp_path_factory.mktemp("tiny") / "model")
