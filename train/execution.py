import contextlib


@contextlib.contextmanager
def settings(engine, device):
    yield


def prepare_networks(m, e, d):
    pass
