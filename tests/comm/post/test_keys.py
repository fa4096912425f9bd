import hashlib
import hmac

import pytest
import zmq
from post_kit import KEY
from zmq.utils import z85

from pliant.comm.handshake import job_key
from pliant.comm.post.keys import curve_keys
from pliant.errors import ConfigError


def test_the_keys_follow_from_the_jobs_key():
    keys = curve_keys(KEY)
    assert keys == curve_keys(KEY)
    assert z85.decode(keys.server_secret) == hmac.new(KEY, b"pliant-post-server", hashlib.sha256).digest()
    assert z85.decode(keys.client_secret) == hmac.new(KEY, b"pliant-post-client", hashlib.sha256).digest()
    assert keys.client_public == zmq.curve_public(keys.client_secret)


def test_no_two_jobs_or_tokens_share_one():
    all_keys = [curve_keys(job_key(token, job)) for token in ("t", "u") for job in ("a", "b")]
    texts = {
        text
        for keys in all_keys
        for text in (keys.server_public, keys.server_secret, keys.client_public, keys.client_secret)
    }
    assert len(texts) == 16


def test_secrets_are_not_shown():
    keys = curve_keys(KEY)
    assert keys.server_secret.decode() not in repr(keys)
    assert keys.client_secret.decode() not in repr(keys)


def test_a_zeromq_without_encryption_is_an_error(monkeypatch):
    monkeypatch.setattr(zmq, "has", lambda _: False)
    with pytest.raises(ConfigError, match="need ZeroMQ with CURVE"):
        curve_keys(KEY)
