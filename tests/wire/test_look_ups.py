"""A host's name is looked up within the time of a request, and all of its addresses are tried."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
from scripted import Script, serving

from miaudit.errors import TargetError, TimeLimitError
from miaudit.targets import connect

X = np.random.default_rng(0).normal(size=(20, 3))


def answers(records):
    return np.full((len(records), 3), 1 / 3)


@pytest.fixture
def look_ups(monkeypatch):
    """Names answered as a test says; a number is the seconds that the look-up hangs."""
    names, real = {}, socket.getaddrinfo
    over = threading.Event()

    def getaddrinfo(host, port, *args, **options):
        answer = names.get(host)
        if answer is None:
            return real(host, port, *args, **options)
        if isinstance(answer, float):
            over.wait(answer)
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield names
    over.set()


def test_a_look_up_that_hangs_does_not_outlive_the_timeout(look_ups):
    look_ups["slow.test"] = 30.0
    began = time.monotonic()
    with pytest.raises(TargetError, match="ConnectTimeout"):
        connect("http://slow.test:9/x", format="instances", classes=3, timeout=0.4, retries=0).query(X)
    assert time.monotonic() - began < 5


def test_nor_the_time_limit(look_ups):
    look_ups["slow.test"] = 30.0
    target = connect("http://slow.test:9/x", format="instances", classes=3, timeout=30, retries=5)
    target.deadline = time.monotonic() + 0.4
    with pytest.raises(TimeLimitError):
        target.query(X)
    assert time.monotonic() - target.deadline < 5


def test_every_address_of_a_name_is_tried(look_ups):
    with serving(Script(answers)) as server:
        url = f"{server}/x"
        look_ups["two.test"] = ["::1", "127.0.0.1"]  # nobody listens on the first
        target = connect(url.replace("127.0.0.1", "two.test"), format="instances", classes=3)
        assert target.query(X).probabilities.shape == (20, 3)
        look_ups["none.test"] = ["::1"]
        with pytest.raises(TargetError, match="ConnectError"):
            connect(url.replace("127.0.0.1", "none.test"), format="instances", classes=3, retries=0).query(X)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_ordinary_names_and_addresses_are_answered(host):
    with serving(Script(answers)) as server:
        url = f"{server}/x"
        target = connect(url.replace("127.0.0.1", host), format="instances", classes=3)
        assert len(target.query(X).probabilities) == 20


def test_a_name_that_does_not_exist_is_said(look_ups):
    look_ups["gone.test"] = 0.0
    with pytest.raises(TargetError, match="cannot be looked up"):
        connect("http://gone.test/x", format="instances", classes=3, retries=0).query(X)
